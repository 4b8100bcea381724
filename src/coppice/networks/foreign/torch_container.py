"""What stands in a file of torch.save, looked at before anything is loaded from it.

torch.save wrote two kinds of file: since version 1.6 a zip archive whose ``data.pkl`` describes the tensors, before
that five pickles in a row and then the bytes of the tensors. Both are checked here for what a description may name
and for sizes that the file cannot hold.
"""

import io
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors

# The magic number 0x1950A86A20F9469CFC6C as a pickle of protocol 2.
LEGACY_START = b"\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
ZIP_START = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # magic number, protocol, machine, description, keys
MOST_DESCRIPTION_BYTES = 1 << 24

_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
# What descriptions of tensors need. Less than torch.load(weights_only=True) allows: that can be made to fill the
# memory by names such as bytearray.
ALLOWED = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",
        "__builtin__.set",
        "builtins.set",
        "_codecs.encode",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        *(f"torch.{name}Storage" for name in _STORAGES),
        *(f"torch.{name}" for name in _DTYPES),
    }
)
# Plain data that training programs store beside the weights. They are read as placeholders, not as themselves.
PLACEHOLDERS = frozenset(
    {
        "argparse.Namespace",
        *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
        "numpy.ndarray",
        "numpy.dtype",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    }
)
_ADVICE = "where you trust the file, save its weights alone: torch.save(network.state_dict(), 'weights.pth')"


@dataclass(frozen=True)
class Container:
    """Where a file keeps the bytes of its tensors.

    Attributes
    ----------
    begin : int or None
        Where they begin in a file from before torch 1.6; None for a zip archive.
    record_bytes : frozenset of int
        How long the records of a zip archive are.
    """

    begin: int | None
    record_bytes: frozenset[int] = frozenset()


def check_container(path: Path) -> Container:
    """Check a file of torch.save without loading it.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Container

    Raises
    ------
    CoppiceError
        If it is missing, empty, cut short, no file of torch.save, compressed, TorchScript, claims more than it holds,
        or names anything but tensors and plain data.

    Examples
    --------
    >>> import tempfile, torch
    >>> file = Path(tempfile.mkdtemp()) / "weights.pth"
    >>> torch.save({"weight": torch.zeros(3)}, file)
    >>> 12 in check_container(file).record_bytes
    True
    """
    with plain_os_errors("read the model", path), path.open("rb") as handle:
        start = handle.read(len(LEGACY_START))
    if not start:
        raise CoppiceError(f"{path} is empty; copy or download it again.")
    if start.startswith(ZIP_START):
        return Container(None, _check_zip(path))
    if start == LEGACY_START:
        with path.open("rb") as handle:
            return Container(_check_pickles(handle.read(MOST_DESCRIPTION_BYTES), _LEGACY_PICKLES, path))
    if start.startswith(b"\x80"):
        raise CoppiceError(f"{path} is a pickle but not a file of torch.save; pickles can run code and are not opened.")
    if LEGACY_START.startswith(start):
        raise _cut_short(path, f"it ends after {len(start)} bytes")
    raise CoppiceError(f"{path} is not a file of torch.save: it begins with {start[:8]!r}.")


def _check_zip(path: Path) -> frozenset[int]:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
                raise CoppiceError(
                    f"{path} is a TorchScript file, which holds a program; save the weights of the network that it "
                    "was made from: torch.save(network.state_dict(), 'weights.pth')."
                )
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                    raise CoppiceError(
                        f"{path} holds {entry.filename!r} in compressed or encrypted form, which torch.save never "
                        "writes; download it from its source again."
                    )
            claimed = sum(entry.file_size for entry in entries)
            if claimed > size:
                raise CoppiceError(f"{path} claims to hold {claimed} bytes but has {size}; download it again.")
            described = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if len(described) != 1:
                raise CoppiceError(f"{path} is a zip archive but not one of torch.save: it has no data.pkl.")
            if described[0].file_size > MOST_DESCRIPTION_BYTES:
                raise CoppiceError(
                    f"{path} describes its tensors in {described[0].file_size} bytes, more than the "
                    f"{MOST_DESCRIPTION_BYTES} that any network needs."
                )
            content = archive.read(described[0])
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError) as error:
        raise _cut_short(path, f"its archive cannot be read ({error})") from error
    _check_pickles(content, 1, path)
    return frozenset(entry.file_size for entry in entries)


def _check_pickles(content: bytes, count: int, path: Path) -> int:
    """Refuse names that are not allowed in pickles that stand in a row; return where the last one ends."""
    stream = io.BytesIO(content)
    names: list[str] = []
    try:
        for _ in range(count):
            for operation, argument, _position in pickletools.genops(stream):
                if operation.name in ("STACK_GLOBAL", "INST", "OBJ"):
                    raise CoppiceError(
                        f"{path} was not saved with pickle protocol 2, which torch.save uses by default; {_ADVICE}."
                    )
                if operation.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
    except (ValueError, EOFError, IndexError, OverflowError) as error:
        raise _cut_short(path, "the description of its tensors does not end") from error
    refused = [name for name in names if name not in ALLOWED | PLACEHOLDERS]
    layers = [name for name in names if name.startswith("torch.nn.modules.")]
    if layers:
        raise CoppiceError(
            f"{path} holds a whole pickled network (with {layers[0]!r}), which could not be restored without running "
            f"code from the file; {_ADVICE}."
        )
    unusual = [name for name in refused if name.startswith("torch._utils.")]
    if unusual:
        raise CoppiceError(
            f"{path} holds a tensor of an unusual kind ({unusual[0]!r}), such as sparse or quantized; ordinary dense "
            "tensors can be read."
        )
    if refused:
        raise CoppiceError(
            f"{path} refers to {refused[0][:80]!r} beside its tensors, which is not loaded because it could run code; "
            f"{_ADVICE}."
        )
    return stream.tell()


def _cut_short(path: Path, reason: str) -> CoppiceError:
    return CoppiceError(f"{path} is not a whole file of torch.save: {reason}; copy or download it again.")
