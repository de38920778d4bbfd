"""What `taichi-nerf doctor`, `taichi-nerf bench` and `tests/performance` share: is a kernel right here, and how fast?

    cases     one entry for each kernel stem: inputs, operation, reference, its work in bytes and operations
    measure   the check of a case, a clock, the limits of the machine
    peers     the same work by other libraries
    worker    one backend in a process of its own
    report    doctor and bench: processes, tables, JSON
"""
