"""What every job shares and no domain owns: the run, the session, the command line, the tables, bookkeeping."""
