"""A small run of the comparison, and whether the comparison would see anything."""

from __future__ import annotations

import ast
import inspect
import os
import random
from types import ModuleType

import pytest

from amqp import assembly, tables
from t.differential import __main__ as main_module
from t.differential.assembly import Assembly
from t.differential.build import PACKAGE, SETUP, Builds, compiler_directives
from t.differential.run import Finding, Target, outcome, run
from t.differential.tables import Tables


@pytest.fixture(scope='module')
def builds(tmp_path_factory):
    if os.environ.get('AMQP_REQUIRE_CYTHON') != '1':
        pytest.importorskip('Cython')
    made = Builds(tmp_path_factory.mktemp('builds'))
    yield made
    made.close()


@pytest.mark.parametrize('target', main_module.TARGETS, ids=lambda target: target.module)
def test_both_builds_agree(target, builds):
    assert run(target(), builds, count=20_000, seed=0) is None


def test_the_same_seed_gives_the_same_cases():
    def first(seed):
        cases = Tables().cases(random.Random(seed))
        return [repr(next(cases)) for _ in range(200)]

    assert first(1) == first(1) != first(2)


def test_cases_reach_values_and_both_errors():
    target = Tables()
    cases = target.cases(random.Random(0))
    results = [outcome(target, tables, next(cases)) for _ in range(3000)]
    assert all(fine for _, fine in results)
    kinds = [text.split(' ', 1)[0] for text, _ in results]
    assert min(kinds.count(kind) for kind in ('value', 'FrameSyntaxError:', 'EncodeError:')) > 100


def test_deliveries_are_taken_and_left():
    target = Assembly()
    cases = target.cases(random.Random(0))
    results = [target.run(assembly, next(cases))[0] for _ in range(3000)]
    # What is left comes last.
    taken = [len(result) - 1 for result in results]
    assert taken.count(0) > 500
    assert taken.count(1) > 500
    assert max(taken) == 2
    messages = sum(isinstance(result[0][0], list) for result in results)
    assert messages > 500
    assert len(taken) - taken.count(0) - messages > 100


class Wrong(Target):
    """A module whose builds differ, or err, where it is told to."""

    module = 'spec'
    errors = frozenset({'KeyError'})

    def __init__(self, pure, compiled):
        self.results = {'amqp_pure.spec': pure, 'amqp_compiled.spec': compiled}

    def cases(self, rng):
        while True:
            yield rng.random()

    def run(self, module, case):
        result = self.results[module.__name__]
        if isinstance(result, Exception):
            raise result
        return result


class TwoPure:
    """Builds of a module that is not compiled."""

    @staticmethod
    def load(module):
        return ModuleType(f'amqp_pure.{module}'), ModuleType(f'amqp_compiled.{module}')


@pytest.mark.parametrize(
    ('pure', 'compiled'),
    [
        (1, 2),
        (1, True),
        (0.0, -0.0),
        (1, KeyError('x')),
        (KeyError('x'), KeyError('y')),
        (KeyError('x'), ValueError('x')),
        # Agreeing on what must not be is a finding too.
        (IndexError('x'), IndexError('x')),
    ],
)
def test_a_difference_is_found(pure, compiled):
    finding = run(Wrong(pure, compiled), TwoPure(), count=1, seed=0)
    assert isinstance(finding, Finding)
    assert finding.case == random.Random('spec 0').random()


@pytest.mark.parametrize(('pure', 'compiled'), [(1, 1), (KeyError('x'), KeyError('x'))])
def test_agreement_is_no_finding(pure, compiled):
    assert run(Wrong(pure, compiled), TwoPure(), count=5, seed=0) is None


def test_report(capsys):
    assert main_module.report(Wrong(1, 2), TwoPure(), 1, 0)
    assert 'value 2' in capsys.readouterr().out
    assert not main_module.report(Wrong(1, 1), TwoPure(), 1, 0)
    assert 'no difference' in capsys.readouterr().out


def test_a_module_that_is_not_compiled_is_noticed(builds):
    with pytest.raises(RuntimeError, match='amqp_compiled'):
        builds.load('spec')


def test_the_copies_are_compiled_as_the_package_is():
    directives = compiler_directives()
    assert directives['annotation_typing'] is False
    assert f'compiler_directives={directives!r}' in SETUP.format(sources={}, directives=directives)


def own_functions(module):
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value)
        and getattr(value, '__module__', '') == module.__name__
        and not name.startswith('__pyx_')  # for pickles, made by Cython
        and not name.endswith('_cython__')
    }


@pytest.mark.parametrize('name', sorted(path.stem for path in PACKAGE.glob('*.pyx')))
def test_twins_have_the_same_names(name, builds):
    modules = builds.load(name)
    pure, compiled = map(own_functions, modules)
    # What the twin in C has for itself alone, nobody sees.
    assert compiled.keys() <= vars(modules[0]).keys()
    assert {each for each in pure if not each.startswith('_')} <= compiled.keys()
    for each in compiled.keys() & pure.keys():
        function = compiled[each]
        assert inspect.getdoc(function) == inspect.getdoc(pure[each])
        if isinstance(function, type):
            continue  # an extension type has no signature
        assert list(inspect.signature(function).parameters) == list(
            inspect.signature(pure[each]).parameters
        )
    # Whatever other modules import from it is in both.
    for path in PACKAGE.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and node.module == name:
                assert {alias.name for alias in node.names} <= set(dir(modules[1]))
