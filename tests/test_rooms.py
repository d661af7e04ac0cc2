"""How the rooms of dedup/ are built: who imports whom, what is public, how large things are, one name for one thing.

What breaks a rule today is listed beside it, with its count, so that the rule can only get stricter: a list that
names more than there is fails as well.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import pytest

from dedup.matching.kinds import MatchKind
from tests.conftest import PROJECT

# A room imports from those before it.
ORDER = (
    "config output workers store dataset encoder matching contents clustering deletion evaluation report training "
    "distributed pipeline"
).split()
ROOMS = sorted(path.parent.name for path in (PROJECT / "dedup").glob("*/__init__.py"))
MODULES = {
    path.relative_to(PROJECT / "dedup").as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((PROJECT / "dedup").rglob("*.py"))
}
MOST_LINES, MOST_MODULES, MOST_NAMES = 450, 8, 12
CROWDED = {"deletion": 10, "matching": 9}  # modules of larger rooms
TWO_VALUES = set("GREY LEVELS LOST NEAR SIDE STEPS".split())


def room_of(name: str) -> str:
    """The room of dedup.room.module, or of room/module.py; a module beside the rooms is one by itself."""
    return name.removeprefix("dedup.").replace("/", ".").split(".")[0]


def imported(tree: ast.AST) -> list[str]:
    """Modules of dedup that are imported there, in functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"dedup.{alias.name}" for alias in node.names] if node.module == "dedup" else [node.module or ""]
    return [name for name in found if name.startswith("dedup.")]


def upwards(module: str, tree: ast.AST) -> list[str]:
    own = ORDER.index(room_of(module))
    return [name for name in imported(tree) if ORDER.index(room_of(name)) > own]


def constants(tree: ast.Module) -> dict[str, str]:
    """Values, as written, of the names in capitals that a module sets."""
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = value.elts if isinstance(value, ast.Tuple) and len(names) > 1 else [value] * len(names)
            for name, each in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and name.id.isupper() and each is not None:
                    found[name.id.lstrip("_")] = ast.unparse(each)
    return found


def of_kind(node: ast.AST) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "kind"


def kind_strings(tree: ast.AST) -> int:
    """Comparisons of a kind with the text of a MatchKind."""
    comparisons = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    count = 0
    for node in comparisons:
        sides = [node.left, *node.comparators]
        texts = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
        count += any(map(of_kind, sides)) and not texts.isdisjoint(MatchKind)
    return count


def notebook_imports(path: Path) -> list[str]:
    cells = (cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    found = []
    for node in (node for cell in cells for node in ast.walk(ast.parse(cell.source))):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module} {alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [f"{alias.name} " for alias in node.names]
    return [name for name in found if name.split(".")[0].split()[0] == "dedup"]


def test_every_room_has_its_place_in_the_order():
    assert {room_of(module.removesuffix(".py")) for module in MODULES} - {"__init__"} == set(ORDER)
    assert set(ROOMS) <= set(ORDER)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_no_room_imports_from_one_below_it(module):
    assert upwards(module.removesuffix(".py"), MODULES[module]) == []


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_import_public_names_of_rooms(path):
    found = [name.split(" ") for name in notebook_imports(path)]
    assert found
    for module, name in found:
        assert module.removeprefix("dedup.") in {"dedup", *ROOMS}, f"{module} is no room"
        assert name in importlib.import_module(module).__all__, f"{name} is not public in {module}"


@pytest.mark.parametrize("room", ["dedup", *ROOMS])
def test_a_room_says_what_it_is_and_has_few_public_names(room):
    module = importlib.import_module("dedup" if room == "dedup" else f"dedup.{room}")
    folder = Path(module.__file__).parent
    assert 1 <= len(module.__all__) <= MOST_NAMES
    inside = {path.name for path in folder.glob("*.py") if not path.name.startswith("__")}
    assert set(re.findall(r"\w+\.py\b", module.__doc__)) - {"main.py"} == inside
    assert room == "dedup" or ("\nIn: " in module.__doc__ and "\nOut:" in module.__doc__)
    if room != "distributed":  # needs packages of its own
        assert all(hasattr(module, name) for name in module.__all__)


def test_rooms_import_nothing_until_a_name_is_used():
    code = f"""import sys, dedup, {", ".join(f"dedup.{room}" for room in ROOMS)}
print([name for name in ("torch", "matplotlib", "cv2", "scipy", "PIL", "numpy") if name in sys.modules])
from dedup.matching import radius_neighbors_graph
from dedup.report import plot_pictures
print([name for name in ("torch", "matplotlib") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stderr


def test_modules_and_rooms_are_small():
    lengths = {module: (PROJECT / "dedup" / module).read_text(encoding="utf-8").count("\n") for module in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MOST_LINES} == {}
    counts = Counter(room_of(module) for module in MODULES if "/" in module and "/__" not in module)
    assert {room: count for room, count in counts.items() if count > MOST_MODULES} == CROWDED


def test_no_constant_has_two_values():
    values = defaultdict(set)
    for tree in MODULES.values():
        for name, value in constants(tree).items():
            values[name].add(value)
    assert {name for name, found in values.items() if len(found) > 1} == TWO_VALUES


def test_kinds_of_matches_are_written_in_one_place():
    assert [module for module, tree in MODULES.items() if kind_strings(tree)] == []


def test_the_rules_see():
    assert upwards("matching/pictures", ast.parse("def f():\n    from dedup.report import grid")) == ["dedup.report"]
    assert upwards("report/grid", ast.parse("from dedup import matching, output")) == []
    assert constants(ast.parse("A, _B = 1, 2\nC: int = 3\nD, E = f()\nlow = 4")) == {
        "A": "1", "B": "2", "C": "3", "D": "f()", "E": "f()"
    }  # fmt: skip
    assert kind_strings(ast.parse("match.kind == 'crop' or kind in ('edited', 'resaved') or name == 'crop'")) == 2
