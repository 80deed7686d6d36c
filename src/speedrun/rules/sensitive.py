"""Names that let code reach beyond its own work, by the rule that they concern.

A name stands for itself and for all below it; the longest match counts.
"""

from __future__ import annotations

NETWORK = """
socket socketserver ssl http urllib urllib3 requests ftplib smtplib poplib imaplib telnetlib xmlrpc
httpx aiohttp websocket websockets paramiko grpc boto3 gdown wget wandb huggingface_hub datasets
asyncio.open_connection asyncio.start_server torch.hub torch.distributed.rpc
torch.utils.model_zoo kernels.get_kernel transformers
"""
PROCESS = """
os.fork os.forkpty os.posix_spawn os.posix_spawnp os.execl os.execle os.execlp os.execlpe os.execv
os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve
os.spawnvp os.spawnvpe os.system os.popen os.kill os.killpg os.setsid os.setpgid os.setpgrp os._exit
os.abort os.sched_setaffinity os.sched_setscheduler os.setpriority os.nice os.ptrace os.unshare
os.pidfd_open subprocess multiprocessing concurrent.futures.ProcessPoolExecutor
concurrent.futures.process concurrent.interpreters threading.settrace threading.setprofile
threading.settrace_all_threads threading.setprofile_all_threads _posixsubprocess asyncio
signal ctypes cffi sys.settrace sys.setprofile sys._getframe sys._current_frames sys.monitoring
sys.addaudithook sys.setdlopenflags bdb pdb trace cProfile profile gc.get_objects
gc.get_referrers gc.get_referents gc.callbacks inspect.stack inspect.currentframe
inspect.getsource inspect.getsourcelines
inspect.getouterframes inspect.getinnerframes inspect.trace atexit weakref.finalize pty faulthandler
resource.setrlimit resource.prlimit psutil torch.multiprocessing torch.utils.cpp_extension
torch.ops.load_library torch.classes.load_library numpy.ctypeslib numba cupy pynvml
"""
DYNAMIC = """
exec eval compile __import__ importlib imp runpy code codeop pickle cPickle marshal dill cloudpickle
shelve joblib base64 binascii zlib gzip bz2 lzma codecs types.CodeType types.FunctionType
types.ModuleType builtins __builtins__ __loader__ __spec__ sys.modules sys.meta_path sys.path_hooks
operator.attrgetter operator.methodcaller ast symtable dis bytes.fromhex bytearray.fromhex
unittest zipimport zipfile tarfile pkgutil site sys.path torch.package
"""
GUARDED = """
time datetime os.times resource.getrusage torch.cuda.Event torch.cuda.synchronize torch.Event
torch.cuda.current_stream torch.accelerator.synchronize torch.cpu.synchronize
torch.mps.synchronize torch.utils.benchmark timeit
"""


def words(text: str) -> frozenset[str]:
    """Return the words of a table that is written as text."""
    return frozenset(text.split())


def table(**kinds: str) -> dict[str, str]:
    """Return ``{dotted name: rule}``."""
    return {name: rule for rule, names in kinds.items() for name in names.split()}


REACH = table(network=NETWORK, process=PROCESS, dynamic=DYNAMIC)
CLOCKS = words(GUARDED)


def nearest(dotted: str, names: dict[str, str]) -> str:
    """Return the longest name of a table that ``dotted`` is or lies below, or ""."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        head = ".".join(parts[:length])
        if head in names:
            return head
    return ""
