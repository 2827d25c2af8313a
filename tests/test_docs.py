"""Documents that are made from code are as the code makes them."""

from pathlib import Path

from instances.engine import dependencies_doc, errors_doc
from instances.engine.states_doc import document

ROOT = Path(__file__).resolve().parent.parent


def test_the_state_machine_page_is_written_from_the_tables() -> None:
    page = (ROOT / "docs" / "state-machine.md").read_text()
    assert page == document(), "run: python manage.py state_machine > docs/state-machine.md"


def test_the_page_on_dependencies_is_written_from_the_tables() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert page == dependencies_doc.document(), (
        "run: python manage.py dependency_table > docs/dependencies.md"
    )


def test_the_page_on_errors_is_written_from_the_catalogue() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    assert page == errors_doc.document(), "run: python manage.py error_catalogue > docs/errors.md"


def test_no_link_between_documents_is_broken() -> None:
    import re

    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
