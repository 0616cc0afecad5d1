// transports/su.h -- a child on the same machine as another user, by that machine's su or doas.
//
// Transports as sudo is, which ask on a terminal and nowhere else (parent/transport_terminal.h): su for the
// password of the user who is to be, doas for that of the one who asks. Our channel is not that terminal: su,
// which reads the answer from its standard input, finds it there, and its shell the channel behind another
// descriptor; doas opens the terminal itself.
#pragma once

#include "transports/sudo.h"

namespace banyan {

Recipe su(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
          Nanos connect_timeout = 0);
// `may_ask`: somebody answers; else it is told to ask nothing.
Recipe doas(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
            Nanos connect_timeout = 0);
// The same, which asks. The recipe still wants its answerer.
void let_doas_ask(Recipe& recipe);

// The argument vectors that run `line` as that user, in /bin/sh.
std::vector<std::string> su_argv(std::string_view user, std::string_view line);
std::vector<std::string> doas_argv(std::string_view user, std::string_view line);

// An error of a start by `method`, as whoever started it saw it.
Error error_of_su(Error error, std::string_view method, std::string_view user);

}  // namespace banyan
