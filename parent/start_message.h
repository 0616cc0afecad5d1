// parent/start_message.h -- what is said when a context is asked to start a child, or to end one.
//
// A call to kStartChild carries a StartRequest; its reply is a StartReply, sent when the child is up, or when
// nothing is left of the attempt. If the child is lost later, without our asking, a LossNotice goes to the
// handle that the request names. A call to kEndChild carries an EndRequest and is answered, empty, when the
// child is reaped. MessagePack arrays in the order of the fields; see docs/protocol.md.
#pragma once

#include "parent/runner.h"

namespace banyan {

struct StartRequest {
  // Of an image of the same machine: its name, method and deadline for all. Of a transport, what
  // parent/transport_message.h has besides. No journal, and no source.
  Recipe recipe;
  Handle lost = 0;  // of the caller

  Buffer encode() const;
  // `transports` as the runner has it, which is to start the child.
  static Result<StartRequest> decode(Bytes bytes, const Runner::Transports* transports);
};

// `name` and `method` of the child are not said: the caller knows them.
struct StartReply {
  static Buffer encode(const Result<Child>& child);
  // An error of which nobody said where it began, began at `where`.
  static Result<Child> decode(Bytes bytes, ContextId where);
};

// Empty for one that has detached.
struct LossNotice {
  static Buffer encode(const Error& why);
  static Error decode(Bytes bytes, ContextId where);
};

struct EndRequest {
  ContextId child = 0;
  Nanos within = 0;

  Buffer encode() const;
  static Result<EndRequest> decode(Bytes bytes);
};

}  // namespace banyan
