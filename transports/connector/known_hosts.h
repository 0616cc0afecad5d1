// transports/connector/known_hosts.h -- which host keys are known: the text of known_hosts files, read as
// OpenSSH reads it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), and what it says about a key.
//
// Pure: files are read and written in transports/connector/known_hosts_file.h. All files that count, the
// user's and the system's, go into one object; a key is accepted if any line of any of them has it, and
// refused if any revokes it. A name is what the user gave, not an address found for it; where HostKeyAlias is
// set it is that, with kDefaultPort. One thread at a time, also for what is const: answers are remembered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "transports/known_hosts_line.h"

namespace banyan::connector {

// Of all texts together: 100,000 lines with ed25519 keys and hashed names are 14 MiB, in which a name is
// found in 0.2 s. More is no list of hosts that somebody has logged in to.
constexpr std::size_t kKnownHostsBytesMax = 16 << 20;

class KnownHosts {
 public:
  // A line that matters, and where it stands.
  struct Line {
    std::string_view type;  // "ssh-ed25519"; lives for ever
    Buffer key;
    std::string file;
    std::size_t number = 0;  // from 1
  };

  enum class Answer : std::uint8_t {
    kKnown,    // a line has this key for this name
    kUnknown,  // nothing is known of that name
    kChanged,  // other keys are known for it, of whatever type
    kRevoked,  // never to be accepted, whatever else is said of it
  };
  struct Verdict {
    Answer answer = Answer::kUnknown;
    std::vector<Line> lines;  // kKnown, kRevoked: the one that decided; kChanged: all that are known
  };

  // Lines that mean nothing are passed over and counted. An Error, and nothing of it added: too much text.
  Result<Done> add(std::string_view text, std::string_view file);

  // On another port than 22 the lines of that port decide; if there are none, a line of the bare name that
  // has the key is good enough.
  Verdict check(std::string_view name, std::uint16_t port, Bytes key) const;

  // Types of the keys known for it, each once, in the order of the files: what to ask the server for. Those
  // of the bare name where the port has none.
  std::vector<std::string_view> key_types(std::string_view name, std::uint16_t port) const;

  // Does a @cert-authority line name it? Who cannot check certificates leaves such a host to those who can.
  bool has_authority(std::string_view name, std::uint16_t port) const;

  std::size_t bad_lines() const { return bad_lines_; }

 private:
  using Marker = KnownHostsLine::Marker;
  struct Entry {
    Marker marker = Marker::kNone;
    std::optional<HashedName> hashed;
    std::string names;  // when it is not: patterns, lower case
    std::string_view type;
    Buffer key;
    std::uint32_t file = 0;
    std::size_t number = 0;
  };
  using Found = std::vector<std::uint32_t>;  // in entries_

  static bool parse(const KnownHostsLine& line, Entry& entry);
  static bool names_it(const Entry& entry, std::string_view name);
  const Found& find(const std::string& name) const;
  Verdict check_name(const std::string& name, Bytes key) const;
  Line line_of(const Entry& entry) const;

  std::vector<Entry> entries_;
  std::vector<std::string> files_;
  std::size_t bytes_ = 0;
  std::size_t bad_lines_ = 0;
  mutable std::unordered_map<std::string, Found> found_;  // by name: a search costs a hash a hashed line
};

}  // namespace banyan::connector
