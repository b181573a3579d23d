"""What the house promises: no TensorFlow, one direction of imports, short files."""

import ast
import json
import subprocess
import sys

import cli
import pytest

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


def test_families_do_not_import_each_other_and_nothing_imports_upward():
    for path in FILES:
        place = path.relative_to(PACKAGE)
        used = imports(path)
        if place.parts[0] == "families" and len(place.parts) > 2:
            own = f"gen_jax.families.{place.parts[1]}"
            other = [u for u in used if u.startswith("gen_jax.families.")]
            allowed = (own, "gen_jax.families.base")
            assert all(u.startswith(allowed) for u in other), (path, other)
        if place.parts[0] in ("families", "data", "nn", "evaluation") or place.name in (
            "likelihoods.py",
            "keys.py",
            "train_step.py",
        ):
            upward = ("gen_jax.experiment", "gen_jax.commands", "gen_jax.run", "gen_jax.config")
            assert not [u for u in used if u.startswith(upward)], path


def test_devices_are_known_to_one_file():
    words = ("pmap", "pmean", "psum", "axis_index", "device_count", "NamedSharding")
    for path in FILES:
        if path.name not in ("parallel.py", "results.py"):
            text = path.read_text()
            assert not [word for word in words if f"{word}(" in text], path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short_and_safe(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    names = {
        getattr(node, "module", None) or alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not [n for n in names if n.split(".")[0] in ("tensorflow", "pickle", "clu", "distrax")]


def test_a_newcomer_reads_at_most_8_files_and_1500_lines():
    """From the flags to the gradient: the walk of docs/design.md."""
    walk = [
        "launch.py",
        "gen_jax/commands.py",
        "gen_jax/experiment.py",
        "gen_jax/data/batches.py",
        "gen_jax/train_step.py",
        "gen_jax/parallel.py",
        "gen_jax/families/vae/family.py",
        "gen_jax/optimizers.py",
    ]
    text = (cli.ROOT / "docs" / "design.md").read_text()
    assert all(f"`{name}`" in text for name in walk)
    assert sum(len((cli.ROOT / name).read_text().splitlines()) for name in walk) <= 1_500
