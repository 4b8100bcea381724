from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

# Of these folders, files share what takes long to make, to compile or to load: a trained run, C, a runtime.
TOGETHER = {
    "tests/challenge": "challenge",
    "tests/cli": "cli",
    "tests/compiler": "compiler",
    "tests/export": "runtimes",
    "tests/export/web": "runtimes",
    "tests/quantization": "runtimes",
    "tests/recipes": "recipes",
    "tests/reports": "reports",
}


class FolderScheduling(LoadScopeScheduling):
    """Give whole files to a process, or all files of a folder where they share much."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(str(PurePosixPath(file).parent), file)
