// transports/connector/key_agent.h -- the user's key agent (ssh-agent), asked without ever waiting for it.
//
// One request at a time, each over a connection of its own: a late or surplus byte of one answer can never be
// taken for the next. A request ends within the time it was given, counted from when it was made, its turn in
// the queue included; a key agent may well ask its user each time. Thread: the loop's. The loop outlives it.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/function.h"
#include "core/loop.h"
#include "core/result.h"
#include "transports/connector/key_agent_messages.h"

namespace banyan::connector {

// Waiting requests: more than the sessions of a connector that authenticate at one time.
constexpr std::size_t kKeyAgentQueueMax = 256;

class KeyAgent {
 public:
  using OnKeys = Function<void(Result<std::vector<AgentKey>>)>;
  using OnSignature = Function<void(Result<Buffer>)>;
  using RequestId = std::uint64_t;

  // `socket_path`: $SSH_AUTH_SOCK, or IdentityAgent's. Connects when something is asked.
  KeyAgent(Loop& loop, std::string socket_path);
  // Drops what is outstanding; nothing is called.
  ~KeyAgent();
  KeyAgent(const KeyAgent&) = delete;
  KeyAgent& operator=(const KeyAgent&) = delete;

  // The callback is called exactly once, later, unless the request is cancelled; it may destroy the KeyAgent.
  // An Error here: it is not called, since the request could not even be queued.
  Result<RequestId> list_keys(Nanos within, OnKeys on_keys);
  // `algorithm` as decode_signature(). The signature is that of PrivateKey::sign().
  Result<RequestId> sign(Bytes public_blob, Bytes data, std::string_view algorithm, Nanos within,
                         OnSignature on_signature);
  // After this returns the callback is not called. One that is done, or unknown: no effect.
  void cancel(RequestId request);

  std::size_t outstanding() const { return requests_.size(); }

 private:
  struct Request {
    RequestId id = 0;
    Buffer message;
    std::string algorithm;  // empty: of the keys
    OnKeys on_keys;
    OnSignature on_signature;
    Loop::TimerId deadline = 0;
  };

  Result<RequestId> enqueue(Request request, Nanos within);
  void begin_soon();
  void begin();
  void on_ready(Ready ready);
  void write_some();
  void read_some();
  void on_deadline(RequestId request);
  void disconnect();
  Error unusable(std::string_view what) const;
  // Ends the first request. May be the last thing this object lives to see: return at once.
  void finish(Result<Buffer> reply);

  Loop& loop_;
  std::string path_;
  std::list<Request> requests_;  // the first one is being served
  RequestId last_id_ = 0;

  Fd socket_;
  Loop::WatchId watch_ = 0;
  Loop::TimerId retry_ = 0;  // to begin: now, or when a key agent with a full backlog may have room
  std::size_t written_ = 0;
  Buffer reply_;  // with its length before it
};

}  // namespace banyan::connector
