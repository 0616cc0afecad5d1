// transports/sudo.h -- a child on the same machine as another user, by that machine's sudo.
//
// sudo is a transport as ssh is: our channel is its standard input and output, and what it runs is stage 0.
// It has no terminal. Where somebody answers it asks through its askpass program, which is ours (-A), and
// only if it wants a password at all; else it is told to ask nothing (-n), and where it wants one the start
// fails, in phase become, with what to do. Where it wants a terminal, or cannot run that program, it is
// started once more, and asks on a terminal as su does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parent/recipe.h"

namespace banyan {

struct SudoTarget {
  std::string name;    // of the new context, for people
  std::string user;    // REQUIRES: checked against an allow-list (cli/targets.h)
  std::string locale;  // LC_ALL there, for what is run in the end; empty: not set, or not known
};

// Who answers a sudo, and how it finds him.
struct SudoAsks {
  std::string program;  // a path, or kProgramPlace
  std::string token;    // of the one question; see parent/visitor.h
  std::string prompt;   // with which it asks for the password, and for nothing else: letters, digits and -
};

// `nonce` is fresh for each start. `architecture` may be empty: not known; else it is the one of the context
// that starts this. `connect_timeout` bounds everything up to the hello; 0: the usual deadlines.
Recipe sudo(const SudoTarget& target, std::uint64_t nonce, std::string_view architecture,
            Nanos connect_timeout = 0);
// The same, which asks. The recipe still wants its answerer.
void let_ask(Recipe& recipe, const SudoAsks& asks);

// What is done as the new user before stage 0, by whatever method.
std::string become_prelude(const SudoTarget& target);

// The argument vector that runs `line` as that user, in /bin/sh.
std::vector<std::string> sudo_argv(std::string_view user, std::string_view line);

// What sudo says when it fails, and what that means; for find_symptom().
std::vector<Symptom> sudo_symptoms(std::string_view user);

// An error of a start by sudo, as whoever started it saw it, said of sudo.
Error error_of_sudo(Error error, std::string_view user);

// It runs for nobody without a terminal, or has no other way to ask: start it anew, with one.
bool wants_terminal(const Error& error);
// `recipe` as sudo() made it: on a terminal of its own, where it asks, if somebody answers (`may_ask`).
void put_on_terminal(Recipe& recipe, bool may_ask);

}  // namespace banyan
