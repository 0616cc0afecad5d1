// transports/back_end.h -- who speaks SSH for one host: libssh2 in a connector, or the system's ssh.
//
// libssh2 is quicker and one process serves many hosts, but it cannot do all that ssh can. `auto` takes it
// when it can honour every setting ssh has for that host; the first setting that it cannot decides for
// openssh, and is named. Pure: a table over facts (transports/ssh_facts.h gathers them).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "transports/known_keys.h"
#include "transports/ssh_settings.h"

namespace banyan {

enum class BackEnd { kLibssh2, kOpenssh };
enum class BackEndWish { kAuto, kLibssh2, kOpenssh };  // of --ssh
std::string_view name_of(BackEnd back_end);

struct KeyFile {
  std::string path;
  KeyKind kind = KeyKind::kMissing;
  bool is_encrypted = false;
  bool has_certificate = false;  // PATH-cert.pub lies beside it: ssh takes that as well
};

struct BackEndFacts {
  const SshSettings& settings;           // outlives this
  std::vector<KeyFile> keys = {};        // the identity files, in order
  std::vector<KnownHostKey> known = {};  // of the host; none: it is not known
  bool has_control_socket = false;       // somebody listens at ControlPath
  bool has_kerberos_ticket = false;
  bool has_connector = false;  // this build has one
};

struct BackEndChoice {
  BackEnd back_end = BackEnd::kOpenssh;
  bool is_refused = false;  // --ssh libssh2 was asked for and cannot be: then the host is not to be contacted
  std::string setting;      // that decided: "ProxyCommand", "--ssh"; empty: none, libssh2 honours them all
  std::string because;      // a clause about it
  std::string remedy;       // what would make it libssh2; may be empty
};

// Of one host, however it is reached.
BackEndChoice choose_back_end(const BackEndFacts& facts, BackEndWish wish);

// A host on the way to another, or that one.
struct BackEndStep {
  std::string name;  // for people
  BackEndFacts facts;
};
// For each of a way, from us on: who speaks SSH speaks it all the way. One that libssh2 cannot honour leaves
// them all to ssh, and the first of these decides for the others, by ProxyJump.
std::vector<BackEndChoice> choose_back_ends(const std::vector<BackEndStep>& way, BackEndWish wish);

// What is told of a host that is not to be contacted. REQUIRES: choice.is_refused
Error refused_back_end(const BackEndChoice& choice);

// Those of libssh2 1.10 in `wanted` (a list as ssh -G prints it), in the order of `wanted`.
std::vector<std::string> common_with_libssh2(std::string_view setting,
                                             const std::vector<std::string>& wanted);

}  // namespace banyan
