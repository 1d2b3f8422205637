"""Reports: a record as text for people. Nothing here measures or judges."""
