"""The command line of gen_jax: `gen-jax`, `python -m gen_jax`, or `launch.py` of the repository.

python launch.py                                     trains, evaluates and reports the quickstart
python launch.py train --config=experiments/F.py --workdir=W [--config.optim.lr=1e-3 ...]
python launch.py evaluate --workdir=W [--metrics=elbo,nll] [--record=TABLE]
python launch.py sample --workdir=W --num=64 [--label=3] [--seed=0] [--options.temperature=0.7]
python launch.py sample --workdir=W --prompt="ROMEO:" --num=3 --options.length=500
python launch.py interpolate | edit | complete | restore | translate | detect --workdir=W
python launch.py augment --workdir=W --num=1000      then train on --config.data.name=arrays:FILE
python launch.py explore --workdir=W[,W2]            serves a page on this machine to play with it
python launch.py encode --workdir=W                  then train on --config.data.name=latents:W
python launch.py report --workdir=W
python launch.py sweep --config=experiments/F.py --workdir=S [--address=RAY_CLUSTER]
python launch.py reproduce --table=T [--rows=A,B]    lists a table's rows, or measures some
python launch.py export --workdir=W [--out=FILE.safetensors]
python launch.py list [experiments/F.py]             what there is, or the config keys of one
"""

import argparse
import sys

CONFIG_HELP = """
--config.KEY=VALUE changes a key of the config, as --config.optim.lr=3e-4,
--config.model.hidden="(512, 256)" or --config.eval.metrics="('nll',)". `gen-jax list
experiments/F.py` shows all keys of an experiment with what they mean.
"""


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags of a sub-command, and the `--config.` and `--options.KEY=VALUE` arguments."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--workdir", help="folder of the run")
    common.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours that brings families or metrics; docs/extending.md",
    )
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=text,
            epilog=CONFIG_HELP if name in ("train", "evaluate", "sweep") else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    train = add("train", "train a run, or go on with it")
    train.add_argument(
        "--config",
        help="experiment file, FILE.py[:ARGUMENT]; that of --workdir if there is a run in it, else "
        "the quickstart",
    )
    train.add_argument("--coordinator", help="HOST:PORT of process 0, of several: docs/hosts.md")
    train.add_argument("--num_processes", type=int, help="how many share the run")
    train.add_argument("--process_id", type=int, help="which of them this is, from 0")
    train.add_argument(
        "--dry-run", action="store_true", help="print what the run would be, and train nothing"
    )
    train.add_argument(
        "--profile", type=int, default=0, metavar="N", help="trace N steps into WORKDIR/profile"
    )
    evaluate = add("evaluate", "measure a run on the test split")
    for command in (train, evaluate):
        command.add_argument(
            "--data-changed",
            action="store_true",
            help="its data may be others than it was started with, of the same form",
        )
    sample = add("sample", "draw samples of a run")
    for command in (evaluate, sample):
        command.add_argument(
            "--step", help="of a checkpoint that was kept, or best; the newest by default"
        )
    evaluate.add_argument(
        "--metrics", help="comma-separated, without pictures; the config's by default"
    )
    evaluate.add_argument("--replica", type=int, help="of a run with num_replicas; all by default")
    evaluate.add_argument("--record", help="table of results/ whose row this run measures")
    sample.add_argument("--num", type=int, default=64, help="how many")
    sample.add_argument("--label", help="of a class-conditional model: a number or a name")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "--prompt",
        help="of text, sound and music, how samples begin: characters, FILE.wav, FILE.mid, or "
        "test:NUMBER:COUNT for the first elements of an example; --options.length=N more follow",
    )
    sample.add_argument("--temperature", type=float, help="short for --options.temperature")
    sample.add_argument("--replica", type=int, default=0, help="of a run with num_replicas")
    interpolate = add("interpolate", "show what is between examples, or between drawn latents")
    edit = add("edit", "change an attribute of examples, or add noise to them and remove it")
    complete = add("complete", "draw the part of examples that a mask hides")
    restore = add("restore", "undo damage to examples: noise, blur, scratches, few pixels")
    translate = add("translate", "make pictures of one kind into those of another")
    detect = add("detect", "say how unusual examples are, and show where")
    augment = add("augment", "write samples of every class as a dataset that others train on")
    for command in (sample, interpolate, edit, complete, restore, translate, augment):
        command.set_defaults(draws=True)  # so that it takes options of sampling
    augment.add_argument("--num", type=int, default=100, help="of each class")
    for command in (interpolate, edit, complete, restore, translate, detect, augment):
        command.add_argument("--seed", type=int, default=0, help="of what is drawn")
        command.add_argument("--replica", type=int, default=0, help="of a run with num_replicas")
        command.add_argument("--step", help="of a checkpoint that was kept, or best")
    for command in (interpolate, edit, complete, restore, translate, detect):
        command.add_argument("--examples", help="numbers of test examples, as 0,5,7")
        command.add_argument("--classes", help="labels, of each of which an example is taken")
        command.add_argument("--images", help="picture files of your own, as a.png,b.png")
        command.add_argument("--label", help="of a class-conditional model: a number or a name")
    interpolate.add_argument("--seeds", help="of drawn latents instead of examples, as 0,1")
    interpolate.add_argument("--steps", type=int, default=10, help="points of each way")
    interpolate.add_argument(
        "--path", default="spherical", choices=("spherical", "linear"), help="in latent space"
    )
    edit.add_argument("--attribute", help="what is measured of pictures: mass, thickness, ...")
    edit.add_argument("--towards", help="a label, which examples become more like")
    edit.add_argument("--noise", type=float, help="how strong, in the units of networks, -1 to 1")
    edit.add_argument(
        "--method", default="regression", choices=("means", "regression"), help="of directions"
    )
    complete.add_argument(
        "--mask", default="top", help="what is known: a name, or a picture that is white there"
    )
    restore.add_argument("--damage", default="noise", help="what kind")
    for command in (complete, restore):
        command.add_argument("--draws", type=int, default=4, help="of each example")
    translate.add_argument("--back", action="store_true", help="the other way, of a cycle")
    translate.add_argument("--style", help="of style transfer: picture files of your own")

    explore = add("explore", "serve a page on this machine on which runs are played with")
    explore.add_argument("--port", type=int, default=8080)
    encode = add("encode", "write the latents of a run's data, for a prior of them")
    encode.add_argument("--step", help="of a checkpoint that was kept, or best")
    report = add("report", "write report.html of a run, or of several: --workdir=A,B,C")
    report.add_argument("--out", help="of several runs; comparison.html by default")
    sweep = add("sweep", "run every trial of a config's sweep(), or go on with them")
    sweep.add_argument("--config", required=True, help="experiment file, FILE.py[:ARGUMENT]")
    sweep.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="tries every combination of these, in the place of the file's sweep()",
    )
    sweep.add_argument("--metric", default="", help="with --set: what runs are ranked by")
    sweep.add_argument(
        "--mode", default="", choices=("", "max", "min"), help="with --set: which is better"
    )
    sweep.add_argument("--address", default="", help="of a Ray cluster; by default this machine")
    reproduce = add("reproduce", "list the rows of a table of results/, or measure some of them")
    reproduce.add_argument("--table", required=True, help="file of results/, without .json")
    reproduce.add_argument("--rows", help="comma-separated; trained, evaluated and recorded")
    reproduce.set_defaults(parse=parse)  # of the commands of rows

    export = add("export", "write a trained model to one file, with a card of it")
    export.add_argument("--out", help="FILE.safetensors; WORKDIR/model.safetensors by default")
    export.add_argument("--replica", type=int, default=0, help="of a run with num_replicas")
    export.add_argument("--step", help="of a checkpoint that was kept, or best")
    export.add_argument("--half", action="store_true", help="numbers of 16 bits, in half the room")
    listing = add("list", "show experiments, families, metrics, datasets and tables")
    listing.add_argument("experiment", nargs="?", help="FILE.py[:ARGUMENT], whose keys are shown")

    flags, rest = parser.parse_known_args(arguments)
    known = ("--config.", "--options.") if "draws" in flags else ("--config.",)
    unknown = [argument for argument in rest if not argument.startswith(known)]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; see launch.py {flags.command} --help")
    return flags, rest


def script() -> None:
    """`gen-jax`."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Runs one sub-command, the quickstart without any, and returns the exit code."""
    from gen_jax import commands

    quickstart = not arguments
    flags, overrides = parse(arguments or ["train"])
    return commands.run(flags, overrides, quickstart)
