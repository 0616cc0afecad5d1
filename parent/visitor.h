// parent/visitor.h -- the process that a transport starts to ask a person: it visits the back channel
// (parent/back_channel.h) of the context that started the transport, and prints the answer for the transport
// to read.
//
// So sudo's askpass program is the very program that runs a context, which knows by a variable of its
// environment that it is to ask. From before it holds the answer until it ends it leaves no core file, and is
// closed to others of its user; what it held is wiped.
#pragma once

namespace banyan {

// The socket's abstract name, a blank, and what proves that we were sent: a token, good for one question
// (transports/become.h). The question is the token, a NUL, and the text.
constexpr const char* kVisitVariable = "BANYAN_VISIT";

// What main() does before anything else: null, or `where` to ask. `argc` and `argv` as main() has them.
const char* visits(int argc, char** argv);
// Asks; the exit code: 0 when there was an answer.
int visit(const char* where, const char* text);

}  // namespace banyan
