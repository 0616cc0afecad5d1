// transports/connector/host_signature.h -- whether a host key signed something: how an ssh at a hop proves
// which host it talks to.
//
// Pure. Takes arithmetic, under a millisecond. Thread: any.
#pragma once

#include "core/bytes.h"

namespace banyan::connector {

// `host_key` and `signature` in SSH's wire form, with the algorithm's name before the rest; SHA-1 is not
// taken.
bool is_signed_by(Bytes host_key, Bytes data, Bytes signature);

}  // namespace banyan::connector
