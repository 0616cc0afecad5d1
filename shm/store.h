// shm/store.h -- what a context has of shared memory: what it owns, and what it has attached.
//
// One for a process, made by main and handed on; any thread may use it. What is created through it lives
// until the store does, or until end(): scopes and handles inside the process come and go. The last made ends
// first. Ending says so to readers, wakes them, and takes the name away; memory goes with the last process
// that looks at it. A store copied by fork() is not one: the child has to make its own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "shm/names.h"
#include "shm/segment.h"
#include "shm/token.h"

namespace banyan::shm {

class Store {
 public:
  explicit Store(std::string folder = default_folder()) : names_(std::move(folder)) {}
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  // What Array, ByteRing and List are made of; programs use those.
  Result<std::shared_ptr<Segment>> create(const std::string& name, const Shape& shape,
                                          const std::string& descriptor, std::uint64_t start = 0);
  // A token that is known, and whose segment is still in use here, gives the very same one.
  Result<std::shared_ptr<Segment>> attach(const Token& token);
  // By descriptors that somebody passed to us (passing.h), which the kernel gives also where /proc does not.
  Result<std::shared_ptr<Segment>> attach(const Token& token, Descriptors descriptors);

  // The token of a name, from what is known here, else from the folder.
  Result<Token> find(std::string_view name);

  // Ends what was created under that name here, before the store does. False when nothing was.
  bool end(std::string_view name);

  // Takes away the names of owners that crashed; returns how many. create() does it too.
  Result<std::size_t> sweep() { return names_.sweep(); }

 private:
  struct Known {
    Token token;
    std::weak_ptr<Segment> segment;
  };
  struct Owned {
    Token token;
    std::shared_ptr<Segment> segment;
  };
  std::shared_ptr<Segment> find_known(const Token& token);
  void remember(const Token& token, const std::shared_ptr<Segment>& segment);
  void end(Owned& owned) const;

  Names names_;
  std::mutex mutex_;
  std::vector<Owned> owned_;  // in the order of creation
  std::map<std::string, Known, std::less<>> known_;
};

// Of a segment, as its owner sees it.
Token token_of(const Segment& segment);

}  // namespace banyan::shm
