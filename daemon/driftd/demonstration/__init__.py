"""`driftd demo`: the whole loop, replayed over a real year of flights on a virtual clock."""
