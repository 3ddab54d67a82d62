"""Other libraries' names over this one: change the import, keep the program."""
