"""Makes packages.sqlite from ../data/packages.jsonl: the same catalogue as a database, as shops have one."""

import json
import os
import sqlite3

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "packages.sqlite")

if os.path.exists(TARGET):
    os.remove(TARGET)
database = sqlite3.connect(TARGET)
database.execute("CREATE TABLE packages (package TEXT PRIMARY KEY, section TEXT NOT NULL, short TEXT NOT NULL)")
with open(os.path.join(HERE, "..", "data", "packages.jsonl"), encoding="utf-8") as lines:
    rows = [json.loads(line) for line in lines]
database.executemany("INSERT INTO packages VALUES (:package, :section, :short)", rows)
database.commit()
database.execute("VACUUM")
database.close()
