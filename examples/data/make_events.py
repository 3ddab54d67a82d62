"""Makes events.jsonl: some 600 made-up users, each with four to nine packages of one or two sections. Nobody was asked and nobody was watched."""

import json
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
draw = random.Random(7)

with open(os.path.join(HERE, "packages.jsonl"), encoding="utf-8") as lines:
    packages = [json.loads(line) for line in lines]
sections = {}
for package in packages:
    sections.setdefault(package["section"], []).append(package["package"])
# A few packages of a section are had by many, most by few.
for names in sections.values():
    draw.shuffle(names)
names_of = sorted(sections)

with open(os.path.join(HERE, "events.jsonl"), "w", encoding="utf-8") as out:
    for user in range(600):
        likes = draw.sample(names_of, draw.choice([1, 1, 2]))
        items = []
        for _ in range(draw.randint(4, 9)):
            names = sections[draw.choice(likes)]
            item = names[min(int(draw.paretovariate(0.6)) - 1, len(names) - 1)]
            if item not in items:
                items.append(item)
        if len(items) > 1:
            out.write(json.dumps({"user": f"user-{user:03}", "items": items}) + "\n")
