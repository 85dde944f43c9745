import sys
sys.argv[1:] = ['build_ext', '--inplace']
from setuptools import Extension, setup
from Cython.Build import cythonize
from pathlib import Path
ms = []
for p in sorted(Path('amqp').glob('*.pxd')):
    src = p.with_suffix('.pyx') if p.with_suffix('.pyx').exists() else p.with_suffix('.py')
    ms.append(Extension(f'amqp.{p.stem}', [str(src)], extra_compile_args=['-O2']))
for p in Path('amqp').glob('*.pyx'):
    if not p.with_suffix('.pxd').exists(): ms.append(Extension(f'amqp.{p.stem}', [str(p)]))
setup(name='x', ext_modules=cythonize(ms, build_dir='build/c', language_level=3, compiler_directives={'annotation_typing': False, 'freethreading_compatible': True}))
