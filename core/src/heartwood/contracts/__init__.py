"""Every value and protocol that crosses a border between the kernel, its plugins and their authors.

One file a subject. Nothing here imports more than attrs and the standard library, so that a contract never
drags a library along.
"""
