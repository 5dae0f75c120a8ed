"""Where job files are looked for, and under which category."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobserver.errors import DefinitionError
from jobserver.scanner.source_file import LARGEST_FILE, read_source
from jobserver.scanner.sources import JobFile, JobSources, Listing

pytestmark = pytest.mark.timeout(10)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def look(root: Path, disabled: tuple[str, ...] = (), plugins: list[str] | None = None) -> Listing:
    return JobSources(
        project_root=root,
        jobs_dir=Path("jobs"),
        plugins_dir=Path("plugins"),
        disabled_plugins=disabled,
        plugins=plugins,
    ).listing()


def names(listing: Listing) -> list[str]:
    return [file.default_name for file in listing.files]


def test_jobs_are_api_and_plugins_are_their_own_category(tmp_path: Path) -> None:
    touch(tmp_path, "jobs/sync.py", "jobs/a-b.py", "plugins/billing/jobs/invoice.py", "plugins/mail/jobs/send.py")
    listing = look(tmp_path)
    assert names(listing) == ["api:a-b", "api:sync", "billing:invoice", "mail:send"]
    assert listing.files[0].path == tmp_path / "jobs/a-b.py"
    assert listing.problems == ()


def test_helpers_hidden_files_sub_folders_and_other_files_do_not_count(tmp_path: Path) -> None:
    touch(
        tmp_path, "jobs/_shared.py", "jobs/.#sync.py", "jobs/sync.py~", "jobs/notes.md", "jobs/deep/down.py", "jobs/.py"
    )
    touch(
        tmp_path, "plugins/_off/jobs/x.py", "plugins/.git/jobs/x.py", "plugins/loose.py", "plugins/billing/other/x.py"
    )
    assert names(look(tmp_path)) == []


def test_missing_folders_are_no_problem(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere") == Listing(files=(), problems=(), unreadable=())


def test_disabled_plugins_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "plugins/billing/jobs/x.py", "plugins/mail/jobs/x.py")
    assert names(look(tmp_path, disabled=("mail",))) == ["billing:x"]
    assert names(look(tmp_path, disabled=("mail",), plugins=["mail", "billing"])) == ["billing:x"]


def test_a_list_of_plugins_is_followed_and_one_without_a_folder_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "plugins/billing/jobs/x.py", "plugins/mail/jobs/x.py", "plugins/quiet/readme.md")
    listing = look(tmp_path, plugins=["mail", "gone", "quiet"])
    assert names(listing) == ["mail:x"]
    (problem,) = listing.problems
    assert problem.message == f"{tmp_path}/plugins/gone: the plugin is listed but has no folder here"


def test_a_folder_that_cannot_be_searched_hides_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "jobs").touch()
    listing = look(tmp_path)
    (problem,) = listing.problems
    assert "jobs: cannot be searched for jobs: Not a directory" in problem.message
    assert listing.hides(tmp_path / "jobs/sync.py")
    assert not listing.hides(tmp_path / "plugins/billing/jobs/sync.py")


def install(root: Path, entry_points: str) -> None:
    package = root / "acme_billing-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-billing\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[jobserver.plugins]\n{entry_points}\n")


def test_installed_packages_bring_jobs_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    install(site, "billing = acme_billing\ndeep = acme_billing.inner")
    touch(site, "acme_billing/jobs/invoice.py", "acme_billing/inner/jobs/remind.py", "acme_billing/inner/__init__.py")
    (site / "acme_billing/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(site)
    listing = look(tmp_path)
    assert names(listing) == ["deep:remind", "billing:invoice"]
    assert listing.problems == ()
    assert not [name for name in sys.modules if name.startswith("acme_billing")]
    assert names(look(tmp_path, disabled=("deep",))) == ["billing:invoice"]


def test_an_entry_point_that_leads_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    install(site, "bare = acme_billing\ngone = acme_gone")
    touch(site, "acme_billing/__init__.py")
    monkeypatch.syspath_prepend(site)
    messages = [problem.message for problem in look(tmp_path).problems]
    assert messages == [
        "entry point bare = acme_billing: acme_billing has no jobs folder",
        "entry point gone = acme_gone: no package acme_gone is installed",
    ]


def refusal(path: Path) -> str:
    with pytest.raises(DefinitionError) as refused:
        read_source(JobFile(path=path, category="api"))
    return refused.value.message


def test_only_a_readable_file_of_sane_size_is_read(tmp_path: Path) -> None:
    import os

    loop, dangling, folder, pipe, large = (
        tmp_path / f"{name}.py" for name in ("loop", "dangling", "dir", "pipe", "large")
    )
    loop.symlink_to(loop)
    dangling.symlink_to(tmp_path / "nothing")
    folder.mkdir()
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (LARGEST_FILE + 1))
    assert "Too many levels of symbolic links" in refusal(loop)
    assert refusal(dangling) == "is a symbolic link to nothing"
    assert refusal(folder) == "is a folder, a job file is a file"
    assert refusal(pipe) == "is neither file nor folder, a job file is a file"
    assert refusal(large) == "is larger than 4 MiB, too large for a job file"
    assert read_source(JobFile(path=tmp_path / "gone.py", category="api")) is None
