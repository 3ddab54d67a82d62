"""The figures of a run of sememe, as a run of Weights & Biases.

    python sememe_wandb.py FOLDER --project NAME [--name NAME] [--offline]

FOLDER holds TensorBoard event files, in itself (as `sememe train --method rqvae` leaves them) or in a folder a phase; `params.json` beside
them becomes the configuration. Every folder has a step of its own. Needs wandb and tensorboard. With --offline nothing is sent: `wandb sync`
does that later.
"""

import argparse
import json
from pathlib import Path


def figures(folder):
    """`(prefix, step, values)` in the order of phases and steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for place in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        inside = place.relative_to(folder).parts
        prefix = "/".join(part for part in inside if part != "events")
        events = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
        steps = {}
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                steps.setdefault(event.step, {})[tag] = event.value
        for step, values in sorted(steps.items()):
            yield prefix, step, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--project", required=True)
    parser.add_argument("--name")
    parser.add_argument("--offline", action="store_true")
    args = parser.parse_args()
    rows = list(figures(args.folder))
    if not rows:
        parser.error(f"{args.folder} holds no event file with a figure")
    import wandb

    params = args.folder / "params.json"
    config = json.loads(params.read_text()) if params.exists() else {}
    mode = "offline" if args.offline else None
    with wandb.init(project=args.project, name=args.name, config=config, mode=mode) as run:
        for prefix in dict.fromkeys(prefix for prefix, _, _ in rows):
            start = f"{prefix}/" if prefix else ""
            run.define_metric(f"{start}step", hidden=True)
            run.define_metric(f"{start}*", step_metric=f"{start}step")
        for prefix, step, values in rows:
            start = f"{prefix}/" if prefix else ""
            run.log({**{f"{start}{tag}": value for tag, value in values.items()}, f"{start}step": step})
    print(f"{len(rows)} steps of {len({prefix for prefix, _, _ in rows})} folders")


if __name__ == "__main__":
    main()
