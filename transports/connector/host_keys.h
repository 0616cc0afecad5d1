// transports/connector/host_keys.h -- whether the key that a server shows is the host's.
//
// Reads the files of known hosts that the settings name, and writes the one that they let it write. Waits for
// nobody. Thread: the loop's. The settings outlive it.
#pragma once

#include <libssh2.h>

#include <string>
#include <vector>

#include "transports/connector/known_hosts.h"
#include "transports/connector/known_hosts_file.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

// What the server has proved to have; lives as long as the session.
Bytes shown_host_key(LIBSSH2_SESSION* session);
// "ssh-ed25519 SHA256:...", as it is shown to people.
std::string text_of_host_key(Bytes key);

class HostKeys {
 public:
  explicit HostKeys(const SessionSettings& settings) : settings_(settings) {}

  Result<Done> read();
  // Types of keys to ask for: those known for the host first, since libssh2 takes the first that the
  // server has too.
  std::vector<std::string> preference() const;

  enum class Answer : std::uint8_t { kKnown, kNew };
  // kNew: nothing is known of the host, and the settings let us keep() the key. An Error: it must not be
  // believed. What was read is forgotten if the key is known.
  Result<Answer> check(Bytes key);
  // kLocked: later, for so many times as known_hosts_file.h says.
  Result<Kept> keep(Bytes key) const;
  // What to tell of a key that was kept, in ssh's words.
  std::string kept_text(Bytes key) const;

 private:
  const SessionSettings& settings_;
  KnownHosts known_;
};

}  // namespace banyan::connector
