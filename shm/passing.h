// shm/passing.h -- hands a segment to another process over a unix socket: its token, and its descriptors
// (SCM_RIGHTS).
//
// For children, and wherever /proc does not lead to the owner: another PID namespace, another user. Who
// receives it can read the rows, and nothing else.
#pragma once

#include <sys/types.h>

#include "shm/futex.h"
#include "shm/segment.h"
#include "shm/token.h"

namespace banyan::shm {

struct Passed {
  Token token;
  Descriptors descriptors;
};

// `segment` may be ours or attached. Blocks while the socket is full.
Result<Done> pass(int socket, const Token& token, const Segment& segment);

// kUnsafe unless the other end of the socket is a process of ours or of root (SO_PEERCRED), or of `also`.
// What was received is checked when it is attached.
Result<Passed> receive(int socket, Deadline deadline, uid_t also = uid_t(-1));

}  // namespace banyan::shm
