"""The sandbox in which agents' commands run: `ladder` finds what this machine gives, `run` runs one command in it.

Levels, best first. `bwrap`: an own view of the file system, own processes, own network (bubblewrap, user namespaces).
`landlock`: the kernel's access rules and a system call filter, on the machine's own view. `none`: limits alone.
All of them: an environment made from an allow-list, limits, and a keeper that ends the whole process tree with the
command or with the night. Limits: no level protects from a hole in the kernel; folders that a command may write can be
filled up to the disk's floor; GPUs are not visible. docs/containment.md has the whole list.
"""
