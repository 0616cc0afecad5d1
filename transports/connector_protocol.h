// transports/connector_protocol.h -- what the root and a connector say to each other.
//
// A connector (transports/connector/) keeps ssh sessions for the root, so that hostile bytes meet the ssh
// library outside the process that holds the tree. Between the two: one SOCK_SEQPACKET socket, a message a
// datagram, each a MessagePack array that opens with its kind. An order brings with it the descriptor that
// becomes the channel's far end. Both sides are the same build, and yet the root checks what it is told: a
// connector is what an attacker would take over first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/result.h"
#include "transports/address_family.h"
#include "transports/secret.h"

namespace banyan {

constexpr std::size_t kConnectorMessageMax = 64 * 1024;  // an order with long lists of files; a piece of text
constexpr std::size_t kConnectorTextMax = 8 * 1024;      // of one text, and of each string of an error

constexpr std::size_t kConnectorListMax = 64;  // files, variables: more is a mistake, and not sent
constexpr std::size_t kSessionHopsMax = 16;    // of one way: as many jumps as a route may have

using SessionId = std::uint64_t;

// Everything a session needs to know. Resolved by the root: a connector reads no configuration.
struct SessionSettings {
  std::string host;  // a name or an address, to connect to
  std::uint16_t port = 22;
  AddressFamily family = AddressFamily::kAny;
  std::string bind_address;  // of ours, in numbers, to connect from; empty: as the kernel likes
  std::string user;
  std::string key_name;                  // what known_hosts calls the host: its name, or HostKeyAlias
  std::uint16_t key_port = 22;           // the port there; of an alias 22
  std::vector<std::string> known_hosts;  // files, searched in this order; one that is missing is empty
  std::string accept_new;                // the file to which keys of unknown hosts are added; empty: refused
  bool hash_known_hosts = false;         // then without telling the name
  std::vector<std::string> identities;   // private key files, tried in this order
  std::string key_agent;                 // its socket; empty: not asked
  bool only_identities = false;          // of the key agent's keys only those whose file is named
  std::vector<std::string> environment;  // NAME=VALUE, asked for one by one; a server may refuse any
  // Best first, of what libssh2 knows; empty: as libssh2 likes it.
  std::vector<std::string> key_exchanges, ciphers, macs, host_key_algorithms;
  std::uint32_t window = 2 << 20;  // receive window of the channel, bytes, at most
  // Ways to log in, of "publickey", "keyboard-interactive" and "password", in the order in which they are
  // tried.
  std::vector<std::string> methods = {"publickey"};
  std::uint32_t password_prompts = 3;  // of each of the last two
  bool may_ask = false;                // somebody can be asked; else passwords and encrypted keys are no ways
  bool tells_steps = false;            // each step is a line of its text, see transports/openssh_log.h
  // The hosts that it goes through, from us on. Of a hop counts what leads into it; its name is for people.
  std::vector<SessionSettings> hops = {};
  std::string name = {};
};

// root to connector
struct SessionOrder {
  // A session; or no session, but signatures for one that an ssh elsewhere has (connector/signer.h): of these
  // settings who logs in where, known_hosts and the keys count, and neither command nor descriptor.
  enum class Task : std::uint8_t { kSession, kSign, kSignTrustingly };
  SessionId id = 0;
  Task task = Task::kSession;
  SessionSettings settings;
  std::string command;
};
struct SessionStop {
  SessionId id = 0;
};
struct SessionAnswer {
  SessionId id = 0;
  std::uint32_t number = 0;     // of the question
  std::vector<Secret> secrets;  // one for each item; none: it is not answered
};
// What an ssh elsewhere asks its key agent, without the length. One at a time a visitor.
struct KeyRequestMessage {
  SessionId id = 0;
  std::uint32_t visitor = 0;
  Buffer bytes = {};
};
using ToConnector = std::variant<SessionOrder, SessionStop, SessionAnswer, KeyRequestMessage>;

// connector to root
struct SessionPhase {
  SessionId id = 0;
  Phase phase = Phase::kResolve;
};
struct SessionText {  // standard error of the far end, and before that what its connector tells
  SessionId id = 0;
  std::string text;
  bool is_excess = false;  // of a signer: why it refused what nobody had ordered
};
struct SessionEnd {  // nothing of it is left
  SessionId id = 0;
  std::optional<Error> error;
  std::optional<std::uint8_t> exit_code = {};  // of the command, if it came to that and the server says
};
// A person has to answer. One at a time a session.
struct SessionQuestion {
  enum class Kind : std::uint8_t { kPassphrase, kPassword, kInteractive };
  struct Item {
    std::string text;
    bool echo = false;
  };
  SessionId id = 0;
  std::uint32_t number = 0;
  std::uint32_t session = 0;  // of which of its hops; or as many as there are: of the host itself
  Kind kind = Kind::kPassword;
  std::string file = {};                    // kPassphrase: one of the order's identities
  std::string name = {}, instruction = {};  // kInteractive: what the server says
  std::vector<Item> items = {};             // kInteractive: 1 to kPromptsMax
};
struct SessionRefused {  // the server did not take what was answered last
  SessionId id = 0;
};
struct KeyReplyMessage {  // empty: the visitor is not answered any more
  SessionId id = 0;
  std::uint32_t visitor = 0;
  Buffer bytes = {};
};
using FromConnector =
    std::variant<SessionPhase, SessionText, SessionEnd, SessionQuestion, SessionRefused, KeyReplyMessage>;

// An answer's buffer holds secrets, in one place: wipe() it when it is sent.
Buffer encode(const ToConnector& message);
Buffer encode(const FromConnector& message);
Result<ToConnector> decode_to_connector(Bytes message);
Result<FromConnector> decode_from_connector(Bytes message);

// One datagram, with a descriptor or without (-1). False with errno EAGAIN when the socket is full.
bool send_datagram(int socket, Bytes message, int fd);

struct Datagram {
  enum class Status : std::uint8_t { kOk, kWouldBlock, kEnd };
  Status status = Status::kEnd;
  Buffer message;
  Fd fd;
};
// kEnd also for what is no datagram of ours: too long, or with more than one descriptor.
Datagram receive_datagram(int socket);

}  // namespace banyan
