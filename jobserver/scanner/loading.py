"""From one version of a job file to the definitions of its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from jobserver.definition import JobDefinition
from jobserver.scanner.importing import forget, imported
from jobserver.scanner.rejection import FileRejected, import_failure
from jobserver.scanner.source_file import SourceFile
from jobserver.scanner.validation import definitions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFile:
    """A file that is in force. Its module stays in sys.modules (pickle and dataclasses look there) until `unload`."""

    path: str
    digest: str
    module: ModuleType
    definitions: tuple[JobDefinition, ...]

    def unload(self) -> None:
        """Take the module out of sys.modules; classes that still run keep working, for they hold what they use."""
        forget(self.module)


def load(source: SourceFile) -> LoadedFile:
    """Run the file and validate its jobs; FileRejected carries what is wrong, and leaves no trace in sys.modules."""
    try:
        module = imported(source)
        try:
            definitions = definitions_of(module, source)
        except BaseException:
            forget(module)
            raise
    except BaseException as error:
        if isinstance(error, FileRejected | KeyboardInterrupt):
            raise
        raise FileRejected([import_failure(source.path, error)]) from error
    return LoadedFile(path=source.path, digest=source.digest, module=module, definitions=definitions)
