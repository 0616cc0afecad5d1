// parent/back_channel.h -- what a transport's processes ask, answered by whoever ordered the transport,
// however far up the tree: the way from a hop's ssh to the keys at home, from sudo to the person.
//
// A socket of the transport's own. It has no name in any folder, so nothing of it can be left: processes of
// our user reach it through /proc, or by an abstract name where we may be closed to them there (a root that
// holds a secret is), and are heard if they descend from the transport. A question is a length
// (u32, big-endian, as key agents have it) and so many bytes; its answer is the same. What they mean is not
// known here.
//
// Thread: the loop's. Lifetime: the loop and the answerer outlive it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/alive.h"
#include "core/bytes.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/router.h"
#include "parent/answerer.h"

namespace banyan {

// In a recipe's arguments and the values of its environment: the socket, the recipe's file, and the program
// that runs this context, which can ask (parent/visitor.h), each as a path; and the socket by its name.
constexpr std::string_view kSocketPlace = "@banyan:socket@", kFilePlace = "@banyan:file@",
                           kProgramPlace = "@banyan:program@", kNamePlace = "@banyan:name@";

constexpr std::uint32_t kVisitorsMax = 16;    // of one transport, ever: an ssh comes once, sudo thrice
constexpr std::uint32_t kQuestionsMax = 128;  // of one transport, ever: an ssh has two for each key

// Asks in another context: a call to `handle` carries [visitor, question], the reply is the answer.
class RemoteAnswerer final : public Answerer {
 public:
  // The router outlives it.
  RemoteAnswerer(Router& router, ContextId context, Handle handle)
      : router_(router), context_(context), handle_(handle) {}
  RemoteAnswerer(const RemoteAnswerer&) = delete;
  RemoteAnswerer& operator=(const RemoteAnswerer&) = delete;
  ~RemoteAnswerer() override;  // what is not answered yet will not be
  void ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) override;

  // The callee's side: what such a call says, false if it is none.
  static bool decode(Bytes payload, std::uint32_t& visitor, Bytes& question);

 private:
  Router& router_;
  const ContextId context_;
  const Handle handle_;
  std::vector<std::pair<std::uint32_t, Router::CallId>> calls_;  // by visitor: one each
};

class BackChannel {
 public:
  // Told when a question is open, and when none is any more.
  using OnAsks = Function<void(bool)>;

  enum class Reached : std::uint8_t { kByPath, kByName };
  static Result<std::unique_ptr<BackChannel>> open(Loop& loop, Answerer& answerer, OnAsks on_asks,
                                                   Reached reached = Reached::kByPath);
  BackChannel(const BackChannel&) = delete;
  BackChannel& operator=(const BackChannel&) = delete;
  ~BackChannel();

  const std::string& path() const { return path_; }  // kByName: the abstract name
  // The transport's process: before it runs nobody is heard.
  void expect(pid_t transport) { transport_ = transport; }

 private:
  struct Visitor {
    std::uint32_t number = 0;
    Fd socket;
    Loop::WatchId watch = 0;
    Buffer in, out;
    bool waits = false;  // for an answer
  };
  BackChannel(Loop& loop, Answerer& answerer, OnAsks on_asks)
      : loop_(loop), answerer_(answerer), on_asks_(std::move(on_asks)) {}
  Result<Done> listen();
  Result<Done> listen_by_name();
  void on_visitor();
  void wait_for_descriptors();
  bool is_of_transport(pid_t pid) const;
  void on_ready(Visitor& visitor, Ready ready);
  void take_question(Visitor& visitor);
  void on_answer(std::uint32_t number, Bytes answer);
  bool write_answer(Visitor& visitor);  // false: it is gone
  void show_out(std::uint32_t number);
  void note_waiting(int change);

  Loop& loop_;
  Answerer& answerer_;
  OnAsks on_asks_;
  pid_t transport_ = 0;
  std::string path_;
  Fd socket_, place_;  // place_: what the path leads to
  Loop::WatchId watch_ = 0;
  Loop::TimerId again_ = 0;
  std::uint32_t visitors_ever_ = 0, questions_ever_ = 0;
  int waiting_ = 0;
  std::vector<std::unique_ptr<Visitor>> visitors_;
  Alive alive_;
};

// A file in memory, to be read under `path` as long as `fd` is open.
struct PrivateFile {
  Fd fd;
  std::string path;
};
Result<PrivateFile> make_private_file(std::string_view contents);

// The path of the program that runs this context.
std::string own_program();

// `text` with every place in it replaced.
std::string put_in_place(std::string text, std::string_view place, std::string_view path);

}  // namespace banyan
