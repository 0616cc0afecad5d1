// transports/connector/key_ring.h -- keys that were opened with their passphrases: once for all sessions.
//
// Opening one takes from a tenth of a second on, so a thread does it, one key after the other. A key that was
// opened is kept for the sessions that come later. Thread: the loop's. Lifetime: outlives the sessions; its
// end waits for a key that is being opened.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/alive.h"
#include "core/loop.h"
#include "transports/connector/private_key.h"

namespace banyan::connector {

class KeyRing {
 public:
  using Key = std::shared_ptr<const PrivateKey>;
  using OnOpened = Function<void(Result<Key>)>;

  explicit KeyRing(Loop& loop) : loop_(loop) {}
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;
  ~KeyRing();

  // One that was opened before; null: none of that file.
  Key find(const std::string& path) const;
  // `on_opened` once, never from within this call; not after the ring's end. An Error: the passphrase does
  // not open it, or the file cannot be read; of class kResource: there was no thread to open it.
  void open(const std::string& path, Secret passphrase, OnOpened on_opened);

 private:
  struct Job {
    std::string path;
    Secret passphrase;
    std::vector<OnOpened> waiting;  // sessions with the same passphrase wait for the same work
  };
  void start_next();
  void on_done(Result<Key> key);

  Loop& loop_;
  std::map<std::string, Key> keys_;
  std::deque<Job> jobs_;  // the first is being done, if there is a thread; one for each session at most
  std::thread thread_;
  Alive alive_;
};

}  // namespace banyan::connector
