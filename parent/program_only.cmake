# Files of this folder that are for programs only, and not shipped. The others are compiled twice: for programs
# (banyan_parent) and, without exceptions, for images (bootstrap/image/).
set(program_only stage0.cpp)
