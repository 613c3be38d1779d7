"""Studies of applications of autoencoders, with a folder for each study."""
