"""Labelling whole data sets: pictures in, masks in a trainer's layout out, on one machine or many."""
