// transports/jump.h -- the ssh that reaches a jump host, made to heed us.
//
// For each host of ProxyJump ssh starts a further ssh, which reads the configuration anew and hears nothing
// of what ours was told: by its own rights it would ask, and believe any key. But it is started by the name
// that ours was started by. So ours is started by our name: we then run the real one, under that name still,
// with what it shall heed in front. The user's settings of the jump host hold beside that, and so do jumps
// that those name in turn.
#pragma once

#include <string>
#include <string_view>

namespace banyan {

// What every ssh on the way shall heed is in this variable: settings with a blank between. ConnectTimeout is
// for the first of them, which makes the connection.
constexpr const char* kJumpVariable = "BANYAN_JUMP";

// ssh has a shell start the next one, and quotes nothing: may our program's path stand there?
bool can_stand_for_ssh(std::string_view program);

// Are these the words of an ssh that we stand for? No command line of ours looks like that.
bool is_call_of_ssh(int count, const char* const* words);

// Becomes that ssh. Comes back only if there is none; then the exit code.
int become_ssh(int count, char** words, std::string_view heeds);

// How an ssh was told to reach its host, whatever it is to be a way to: of /proc/PID/cmdline. Those who were
// told the same reach the same host. Empty: it is a way to nowhere.
std::string way_of_jump(std::string_view command_line);

}  // namespace banyan
