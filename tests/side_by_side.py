from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

# Of these folders, files share what takes long to make, to compile or to load: a trained run, C, the runtimes.
_TOGETHER = {
    "tests/challenge": "runtimes",
    "tests/cli": "runtimes",
    "tests/export": "runtimes",
    "tests/export/web": "runtimes",
    "tests/quantization": "runtimes",
    "src/coppice/challenge": "runtimes",
    "src/coppice/export": "runtimes",
    "src/coppice/quantization": "runtimes",
    "tests/compiler": "compiler",
    "src/coppice/compiler": "compiler",
    "tests/recipes": "recipes",
    "tests/reports": "reports",
}


class FolderScheduling(LoadScopeScheduling):
    """Give whole files to a process, or all files of a folder where they share much."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _TOGETHER.get(str(PurePosixPath(file).parent), file)
