"""What a piece of work really does to files: its system calls, seen by the kernel (ptrace), and one of them refused.

    calls = watch(work, root).calls                      every call that changes something under root, in order
    watch(work, root, at=17, fault=errno.ENOSPC)         the same work, but its call 17 fails with that error
    watch(work, root, at=17, fault=KILL)                 the same work, killed by SIGKILL just before call 17

`work` runs in a forked child, so SQLite's and FAISS's own calls count like Python's. Linux on x86-64, one thread.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

KILL = -1
ACKNOWLEDGED = "/mmr/acknowledged"  # a path that is looked for, and found nowhere, to say: this much is promised

# What changes a file or a folder, or makes a change durable (x86-64's numbers).
WRITE, OPEN, LSEEK, PWRITE, WRITEV, FSYNC, FDATASYNC, TRUNCATE, FTRUNCATE = 1, 2, 8, 18, 20, 74, 75, 76, 77
RENAME, MKDIR, RMDIR, LINK, UNLINK, OPENAT, MKDIRAT, UNLINKAT, RENAMEAT = 82, 83, 84, 86, 87, 257, 258, 263, 264
PWRITEV, RENAMEAT2, ACCESS, FACCESSAT, FACCESSAT2, MMAP = 296, 316, 21, 269, 439, 9
# What would change files behind our back: seen under root, the record would be false.
UNKNOWN = {40: "sendfile", 85: "creat", 88: "symlink", 265: "linkat", 285: "fallocate", 326: "copy_file_range",
           328: "pwritev2", 437: "openat2"}  # fmt: skip
_O_CREAT, _O_TRUNC, _AT_FDCWD, _AT_REMOVEDIR = 0o100, 0o1000, -100, 0x200
_TRACEME, _GETREGS, _SETREGS, _DETACH, _SYSCALL, _SETOPTIONS = 0, 12, 13, 17, 24, 0x4200
_SYSGOOD, _EXITKILL = 0x1, 0x100000


@dataclass(frozen=True, slots=True)
class Call:
    """A call that succeeded, or would have. kind: create, truncate, write, sync, sync_folder, rename, unlink, mkdir,
    rmdir or acknowledge. path is relative to root; offset: of a write, or the new size of a truncate."""

    kind: str
    path: str
    offset: int = 0
    data: bytes = b""
    target: str = ""


@dataclass(slots=True)
class Watched:
    """The calls and the end of a child that was watched.

    calls: all that were let through, up to the one that was made to fail. code: the exit status, or minus a signal's
    number.
    """

    calls: list[Call] = field(default_factory=list)
    code: int = 0


def works_here() -> bool:
    """True where work can be watched: Linux on x86-64 that lets a process trace its child."""
    if not (sys.platform == "linux" and os.uname().machine == "x86_64"):
        return False
    try:
        return watch(lambda: None, Path("/")).code == 0
    except OSError:
        return False


def acknowledge() -> None:
    """Called by work: what was done up to here has been promised to the caller."""
    os.access(ACKNOWLEDGED, os.F_OK)


def watch(work: Callable[[], object], root: Path, at: int = -1, fault: int = 0) -> Watched:
    """Run work in a child and keep its calls under root. After `at` changes, the next fails with `fault`, or kills it.

    fault: an errno, KILL, or 0 for none. What fails by itself (a folder that is there already) is no change.

    Raises NotImplementedError where the work changes files in a way that is not understood.
    """
    pid = os.fork()
    if pid == 0:
        _child(work)
    try:
        return _follow(pid, str(root.resolve()), at, fault)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _child(work: Callable[[], object]) -> None:
    code = 1
    try:
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _follow(pid: int, root: str, at: int, fault: int) -> Watched:
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, _SYSGOOD | _EXITKILL)
    seen, changes = Watched(), 0
    for registers in _stops(pid, seen):
        call = _decode(pid, registers, root)
        if call is None:
            continue
        hit = fault and changes == at and call.kind != "acknowledge"
        if hit and fault == KILL:
            os.kill(pid, signal.SIGKILL)
            seen.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            break
        if hit:
            registers.orig_rax = ctypes.c_ulonglong(-1).value  # no such call: the kernel does nothing
            _ptrace(_SETREGS, pid, ctypes.addressof(registers))
        result = _run_call(pid, seen)
        if result is None:
            break
        if hit:
            result.rax = ctypes.c_ulonglong(-fault).value
            _ptrace(_SETREGS, pid, ctypes.addressof(result))
            _ptrace(_DETACH, pid)  # what follows is not asked for, and ten times as fast unwatched
            seen.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            break
        if call.kind == "acknowledge":
            seen.calls.append(call)
        elif ctypes.c_longlong(result.rax).value >= 0:
            changes += 1
            written = result.rax if call.kind == "write" else 0
            seen.calls.append(Call(call.kind, call.path, call.offset, call.data[:written], call.target))
    return seen


def _stops(pid: int, seen: Watched) -> Iterator["_Registers"]:
    """The registers at the entry of each system call, until the child ends. Exits of calls not decoded are passed."""
    while True:
        registers = _run_call(pid, seen)
        if registers is None:
            return
        if ctypes.c_longlong(registers.rax).value == -38:  # ENOSYS stands there at the entry of a call, only
            yield registers


def _run_call(pid: int, seen: Watched) -> "_Registers | None":
    """Let the child run to its next system call stop; None where it ended instead."""
    deliver = 0
    while True:
        _ptrace(_SYSCALL, pid, deliver)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            seen.code = os.waitstatus_to_exitcode(status)
            return None
        if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
            registers = _Registers()
            _ptrace(_GETREGS, pid, ctypes.addressof(registers))
            return registers
        deliver = os.WSTOPSIG(status)


# ---------------------------------------------------------------- what a call means


def _decode(pid: int, registers: "_Registers", root: str) -> Call | None:
    """The call as a change under root, or None for all others."""
    number, a, b, c, d = (registers.orig_rax, registers.rdi, registers.rsi, registers.rdx, registers.r10)
    if number in (WRITE, PWRITE, WRITEV, PWRITEV, FSYNC, FDATASYNC, FTRUNCATE):
        return _on_file(pid, number, a, b, c, d, root)
    if number in (OPEN, OPENAT):
        folder, name, flags = (a, b, c) if number == OPENAT else (_AT_FDCWD, a, b)
        path = _under(_path(pid, folder, name), root) if flags & (_O_CREAT | _O_TRUNC) else None
        if path is None:
            return None
        if not os.path.lexists(f"{root}/{path}"):
            return Call("create", path) if flags & _O_CREAT else None
        return Call("truncate", path, 0) if flags & _O_TRUNC else None
    if number in (ACCESS, FACCESSAT, FACCESSAT2):
        return Call("acknowledge", "") if _text(pid, a if number == ACCESS else b) == ACKNOWLEDGED else None
    names = {
        TRUNCATE: ("truncate", _AT_FDCWD, a), MKDIR: ("mkdir", _AT_FDCWD, a), RMDIR: ("rmdir", _AT_FDCWD, a),
        UNLINK: ("unlink", _AT_FDCWD, a), UNLINKAT: ("rmdir" if c & _AT_REMOVEDIR else "unlink", a, b),
        MKDIRAT: ("mkdir", a, b), RENAME: ("rename", _AT_FDCWD, a), RENAMEAT: ("rename", a, b),
        RENAMEAT2: ("rename", a, b), LINK: ("link", _AT_FDCWD, a),
    }  # fmt: skip
    if number in names:
        kind, folder, name = names[number]
        path = _under(_path(pid, folder, name), root)
        if kind not in ("rename", "link"):
            return None if path is None else Call(kind, path, b if kind == "truncate" else 0)
        target = _under(_path(pid, *((_AT_FDCWD, b) if number in (RENAME, LINK) else (c, d))), root)
        return None if path is None and target is None else Call(kind, path or "", target=target or "")
    if number in UNKNOWN or (number == MMAP and c & 2 and d & 1):  # mmap: writable and shared
        fd = registers.r8 if number == MMAP else a
        where = _under(_of_descriptor(pid, fd), root)
        if where is not None:
            raise NotImplementedError(f"{UNKNOWN.get(number, 'mmap')} on {where} is not understood")
    return None


def _on_file(pid: int, number: int, fd: int, b: int, c: int, d: int, root: str) -> Call | None:
    path = _under(_of_descriptor(pid, fd), root)
    if path is None:
        return None
    if number in (FSYNC, FDATASYNC):
        return Call("sync_folder" if Path(f"/proc/{pid}/fd/{fd}").is_dir() else "sync", path)
    if number == FTRUNCATE:
        return Call("truncate", path, b)
    if number in (WRITE, WRITEV):
        lines = dict(line.split(":\t") for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text("utf-8").splitlines()[:2])
        appends = int(lines["flags"], 8) & os.O_APPEND
        offset = Path(f"/proc/{pid}/fd/{fd}").stat().st_size if appends else int(lines["pos"])
    else:
        offset = d
    data = _memory(pid, b, c) if number in (WRITE, PWRITE) else _vector(pid, b, c)
    return Call("write", path, offset, data)


def _path(pid: int, folder: int, name: int) -> str | None:
    text = _text(pid, name)
    if text.startswith("/"):
        return text
    fd = ctypes.c_int(folder & 0xFFFFFFFF).value
    base = str(Path(f"/proc/{pid}/cwd").readlink()) if fd == _AT_FDCWD else _of_descriptor(pid, fd)
    return None if base is None else f"{base}/{text}"


def _of_descriptor(pid: int, fd: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/fd/{fd & 0xFFFFFFFF}").readlink()).removesuffix(" (deleted)")
    except OSError:
        return None


def _under(path: str | None, root: str) -> str | None:
    if path is None:
        return None
    path = os.path.normpath(path)
    return os.path.relpath(path, root) if path == root or path.startswith(root.rstrip("/") + "/") else None


def _memory(pid: int, address: int, size: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123 - unbuffered, at an address
        memory.seek(address)
        return memory.read(size)


def _vector(pid: int, address: int, count: int) -> bytes:
    words = memoryview(_memory(pid, address, 16 * count)).cast("Q")
    return b"".join(_memory(pid, words[i], words[i + 1]) for i in range(0, 2 * count, 2))


def _text(pid: int, address: int) -> str:
    """The C string there, read up to the end of each page, for the next may not exist."""
    content = b""
    while b"\0" not in content and len(content) < 8192:
        start = address + len(content)
        content += _memory(pid, start, 4096 - start % 4096)
    return os.fsdecode(content.split(b"\0", 1)[0])


# ---------------------------------------------------------------- the kernel's door


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
        "fs_base gs_base ds es fs gs".split()
    ]


_KERNEL = ctypes.CDLL(None, use_errno=True)
_KERNEL.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_KERNEL.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    if _KERNEL.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")
