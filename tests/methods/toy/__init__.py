"""A method in one folder: nothing outside it knows that it is there.

Pixels in, two small towers, a momentum copy and queues of its vectors, one stage, three tasks. It is not meant to be
good; it is the permanent proof that a method is a folder.
"""
