"""What the house promises: no TensorFlow, one direction of imports, no lists of what there is."""

import ast
import graphlib
import json
import subprocess
import sys

import cli
import pytest

from gen_jax import evaluation, families

PACKAGE = cli.ROOT / "gen_jax"
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Modules of gen_jax that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gen_jax"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("gen_jax")}
    return found


def test_no_run_imports_tensorflow(tmp_path):
    code = """
import json, sys
import launch
W = "--workdir=" + sys.argv[1]
assert launch.main(["train", *json.loads(sys.argv[2]), W]) == 0
assert launch.main(["evaluate", W]) == 0
assert launch.main(["sample", W]) == 0
assert launch.main(["report", W]) == 0
bad = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "torch", "keras")]
assert not bad, bad
"""
    # Others of our dependencies import PyTorch where they find one: here they do.
    installed = tmp_path / "site"
    (installed / "torch").mkdir(parents=True)
    (installed / "torch" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), json.dumps(cli.TINY)],
        cwd=cli.ROOT,
        env=cli.environment() | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_training_starts_without_what_it_can_do_without():
    slow = "matplotlib", "sklearn", "scipy.stats", "tensorflow_datasets", "tensorboardX", "grain"
    code = f"import sys, gen_jax.run; print(*(set({slow}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "\n", done.stdout + done.stderr


# From the ground up: a room imports from those before it, and never from those after it.
ROOMS = (
    *("errors", "files", "settings", "keys", "schedules", "ticks", "parallel"),
    *("sound", "data", "likelihoods", "measurements", "pictures", "nn", "families", "evaluation"),
    *("config", "training", "workdir", "report", "applications"),
    *(
        "experiment",
        "export",
        "run_checks",
        "run",
        "apply",
        "explorer",
        "__init__",
        "ship_judge",
        "sweeps",
        "overview",
        "commands",
        "cli",
    ),
    "__main__",
)


def module_of(name):
    """The file of the package that has a module, or something in it."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return module_of(name.rpartition(".")[0])


GRAPH = {path: {module_of(name) for name in imports(path)} for path in FILES}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_down_between_rooms():
    assert {room(path) for path in FILES} == {*ROOMS}
    for path, used in GRAPH.items():
        for other in used:
            assert ROOMS.index(room(other)) <= ROOMS.index(room(path)), (path, other)


def test_no_files_import_one_another():
    try:
        list(graphlib.TopologicalSorter(GRAPH).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(PACKAGE)) for path in error.args[1]))


def test_families_do_not_import_one_another():
    for path, used in GRAPH.items():
        place = path.relative_to(PACKAGE)
        if place.parts[0] == "families" and len(place.parts) > 2:
            own = (path.parent, PACKAGE / "families")
            assert all(u.parent in own for u in used if room(u) == "families"), path


def test_shared_files_know_no_family_and_no_metric():
    """What a family or a metric is called is said in its own room alone."""
    names = {*families.names(), *evaluation.metrics()}
    for path in FILES:
        if room(path) in ("families", "evaluation", "ship_judge"):
            continue
        constants = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not constants & names, (path, constants & names)


def test_devices_are_known_to_one_file():
    words = ("pmap", "pmean", "psum", "axis_index", "device_count", "NamedSharding")
    for path in FILES:
        if path.name != "parallel.py":
            text = path.read_text()
            assert not [word for word in words if f"{word}(" in text], path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_import_nothing_unsafe(path):
    text = path.read_text()
    names = {
        getattr(node, "module", None) or alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not [n for n in names if n.split(".")[0] in ("tensorflow", "pickle", "clu", "distrax")]


def test_the_walk_of_the_design_notes_is_there():
    """From the flags to the gradient."""
    walk = [
        "launch.py",
        "gen_jax/cli.py",
        "gen_jax/commands.py",
        "gen_jax/experiment.py",
        "gen_jax/data/batches.py",
        "gen_jax/training/step.py",
        "gen_jax/parallel.py",
        "gen_jax/families/vae/family.py",
        "gen_jax/training/optimizers.py",
    ]
    text = (cli.ROOT / "docs" / "design.md").read_text()
    places = [text.index(f"`{name}`") for name in walk]
    assert places == sorted(places)
    assert all((cli.ROOT / name).is_file() for name in walk)
