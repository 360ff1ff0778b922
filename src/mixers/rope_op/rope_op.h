// Rotary position embedding as an operation, in both pairings: y = rotate(x, angle[t]).
//
//   angle[t][i] = position[t] theta^(-2i/r),  i < r/2;  columns from r on pass through
//
// with the pairings and the precision of src/primitives/rope/rope.h. A token's position is given
// (control `positions`), or counted from 0 in each sequence of the call; frequencies of one's own
// (`inv_freq`) replace theta's, and tables of cosines and sines (`cos`, `sin`) replace both.
// Source: Su et al. 2021 (RoFormer). Parallel over tokens. Scratch: one block's angles a worker.
#pragma once
