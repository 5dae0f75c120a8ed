"""Code that is handed over, not dropped into `jobs/`: a function, a path to a .py file, or "package.module:function".

references     a path or a dotted name → what is there, read with `ast`: nothing is imported where it does not run
functions      a function object → the same, and where a fresh process would find it
definitions    either of them, under a name and with a time → a job definition like that of any job file
"""
