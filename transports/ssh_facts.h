// transports/ssh_facts.h -- looking at what lies on this machine: key files, known host keys, sockets,
// tickets.
//
// Files are read whole and once a run, so that a thousand hosts cost one reading. Reads local files only, and
// only small ones; connects to nothing. Thread: one at a time.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "transports/back_end.h"

namespace banyan {

class SshFacts {
 public:
  SshFacts(LocalUser local, bool has_connector) : local_(std::move(local)), has_connector_(has_connector) {}

  // `settings` outlives the facts.
  BackEndFacts about(const SshSettings& settings);
  // What its known_hosts have of the host, under the name `alias` (transports/known_keys.h).
  std::string known_hosts_lines(const SshSettings& settings, std::string_view alias);

 private:
  const std::string& known_hosts(const std::string& path);  // its text; empty when there is none
  const KeyFile& key(const std::string& path);
  bool has_kerberos_ticket();

  const LocalUser local_;
  const bool has_connector_;
  std::map<std::string, std::string> known_hosts_;
  std::map<std::string, KeyFile> keys_;
};

}  // namespace banyan
