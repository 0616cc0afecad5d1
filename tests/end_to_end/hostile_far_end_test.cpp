// Goal: a host that attacks costs itself, and neither the root's memory nor the other targets.
// Method: the real program with an `ssh` of ours in front in PATH: this very program, which plays stage 0 and
// an agent, says hello as the rules want it, and then does what its host's name says: LONG sends all its
// output in one message, LINES nothing but ends of lines, LIAR speaks in the root's name, CODES says codes
// that move a terminal wherever it can say something, and so does BANNER before it ends, as ssh's own error.
#include <errno.h>
#include <sys/utsname.h>

#include <filesystem>
#include <map>
#include <memory>

#include "core/epoll_loop.h"
#include "core/exec.h"
#include "core/identity.h"
#include "core/log.h"
#include "core/msgpack.h"
#include "core/nonblocking.h"
#include "core/stream.h"
#include "parent/image.h"
#include "parent/image_header.h"
#include "tests/end_to_end/ssh.h"
#include "tests/end_to_end/terminal.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr std::size_t kLongBytes = 15 << 20;  // within the limit of a message
constexpr std::size_t kLinesBytes = 1 << 20;  // each becomes a line of 55 bytes
constexpr StreamId kStream = 77;

// The clipboard, a title, the cursor, C1 as a byte and as a character, the direction of writing, and lines
// that pretend to come from somebody else.
constexpr std::string_view kCodes =
    "\x1b]52;c;aGk=\x07 \x1b]0;title\x1b\\ \x1b[2J\x1b[1;1H \x9b"
    "1m \xc2\x9b"
    "2J \xe2\x80\xae \xe2\x81\xa6 \b\b\r\nlocal: fake\n✗ local  command: fake\n";

class FarEnd final : Link::Owner {
 public:
  explicit FarEnd(std::string host, std::uint64_t nonce) : host_(std::move(host)), nonce_(nonce) {}

  void run() {
    for (int fd : {0, 1}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    link_ = std::make_unique<Link>(loop_, LinkFds{0, 1}, static_cast<Link::Owner&>(*this), LinkLimits{},
                                   router_.window_budget(), true);
    link_->send_control(handshake_header(kHello), Hello::of_this_process(nonce_).encode());
    loop_.run();
  }

 private:
  void on_frame(Link&, const Header& header, Bytes payload) override {
    if (header.handle != kIdentity) return;
    const auto identity = Identity::decode(payload);
    if (!identity) return loop_.stop();
    router_.configure(identity->router_config());
    router_.on_shutdown = [this](Nanos) { loop_.stop(); };
    link_->set_limits(identity->limits);
    router_.add_handler(kExec, Access::ancestors(), [this](Incoming& message) { attack(message); });
    router_.set_parent(std::move(link_), [this](const Error&) { loop_.stop(); });
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override { loop_.stop(); }

  void attack(Incoming& message) {
    const auto request = ExecRequest::decode(message.payload);
    if (!request) return loop_.stop();
    call_ = message.header;
    if (host_.starts_with("LONG")) router_.send(0, request->out, Buffer(kLongBytes, '\n'), kStream);
    if (host_.starts_with("LIAR")) speak_for_the_root(request->out);
    if (host_.starts_with("CODES")) say_codes(*request);
    if (!host_.starts_with("LINES")) return;
    lines_ = std::make_unique<StreamSender>(router_, 0, request->out);
    lines_->on_writable = [this] { send_lines(); };
    StreamSender(router_, 0, request->err).finish();
    send_lines();
  }

  void say_codes(const ExecRequest& request) {
    router_.send(0, kLog, Packer().array(2).number(int(LogLevel::kWarning)).text(kCodes).take());
    for (Handle handle : {request.out, request.err}) {
      StreamSender sender(router_, 0, handle);
      sender.send(Buffer(kCodes.begin(), kCodes.end()));
      sender.finish();
    }
    ExecOutcome outcome;
    outcome.kind = ExecOutcome::Kind::kNotFound;
    outcome.text = kCodes;
    router_.reply(call_, outcome.encode());
  }

  void speak_for_the_root(Handle out) {
    Header header;
    header.flags = kFirst | kLast;
    header.source = header.authority = 0;
    header.stream = kStream;
    header.handle = out;
    header.length = 1;
    std::uint8_t bytes[kHeaderBytes + 1] = {};
    encode_header(header, bytes);
    if (::write(1, bytes, sizeof bytes) != ssize_t(sizeof bytes)) loop_.stop();
  }

  void send_lines() {
    while (sent_ < kLinesBytes) {
      const std::size_t now = std::min(lines_->room(), kLinesBytes - sent_);
      if (now == 0) return;  // told when there is room
      lines_->send(Buffer(now, '\n'));
      sent_ += now;
    }
    lines_->finish();
    router_.reply(call_, ExecOutcome{}.encode());
  }

  EpollLoop loop_;
  Router router_{loop_,
                 RouterConfig{.id = 1, .sideways = Sideways::kVertical, .ancestors = {0}, .inbox = {}}};
  std::unique_ptr<Link> link_;
  std::unique_ptr<StreamSender> lines_;
  Header call_;
  std::size_t sent_ = 0;
  const std::string host_;
  const std::uint64_t nonce_;
};

std::string machine() {
  utsname name{};
  ::uname(&name);
  return name.machine;
}

bool read_whole(void* to, std::size_t bytes) {
  for (std::size_t got = 0; got < bytes;) {
    const ssize_t now = retry([&] { return ::read(0, static_cast<char*>(to) + got, bytes - got); });
    if (now <= 0) return false;
    got += std::size_t(now);
  }
  return true;
}

// Stage 0 and the loader, as far as the other side can tell.
void take_upload(const std::string& nonce) {
  const std::string ready = cat("BANYAN-READY ", nonce, " ", machine(), " dd - /tmp/loader /tmp\n");
  std::vector<char> loader(loader_bytes());
  std::uint8_t header[kImageHeaderBytes];
  if (::write(1, ready.data(), ready.size()) != ssize_t(ready.size())) ::_exit(90);
  if (!read_whole(loader.data(), loader.size()) || !read_whole(header, sizeof header)) ::_exit(91);
  std::vector<char> image(load_le<std::uint32_t>(header + 4));
  if (load_le<std::uint32_t>(header) != kImageMagic || !read_whole(image.data(), image.size())) ::_exit(92);
}

// Runs before main where we were started as ssh.
const bool kIsFarEnd = [] {
  if (std::string_view(program_invocation_short_name) != "ssh") return false;
  ::signal(SIGPIPE, SIG_IGN);
  const std::string arguments = read_file("/proc/self/cmdline");
  const std::size_t host = arguments.find(std::string("\0--\0", 4)) + 4;
  if (arguments.compare(host, 6, "BANNER") == 0) {
    const std::string last = cat(kCodes, std::string_view("\x1b]52;c;aGk=\x07 last words\n"));
    if (::write(2, last.data(), last.size()) < 0) ::_exit(94);
    ::_exit(255);
  }
  const std::size_t marker = arguments.find("READY ");
  if (marker == arguments.npos) ::_exit(93);
  const std::string nonce = arguments.substr(marker + 6, 16);
  take_upload(nonce);
  FarEnd(arguments.substr(host, arguments.find('\0', host) - host), std::strtoull(nonce.c_str(), nullptr, 16))
      .run();
  ::_exit(0);
}();

}  // namespace

namespace {

// Puts this program in front of the ssh of this machine.
struct FakeSsh {
  FakeSsh() {
    std::filesystem::create_directory(folder);
    std::filesystem::create_symlink(std::filesystem::read_symlink("/proc/self/exe"), folder + "/ssh");
  }
  ~FakeSsh() { std::filesystem::remove_all(folder); }
  const std::string folder = cat(std::string_view(std::getenv("TMPDIR")), "/bin");
  const std::string path = cat("PATH=", folder, ":", std::string_view(std::getenv("PATH")));
};

}  // namespace

TEST_CASE(
    "codes in output, errors and log records reach the terminal only escaped, each on a line of its host") {
  const FakeSsh ssh;
  for (const Words& options : {Words{}, Words{"--no-fold"}}) {
    Words words = {"run", "CODES,BANNER,local", "--ssh", "openssh", "--color", "never", "--sh", "echo here"};
    words.insert(words.begin() + 2, options.begin(), options.end());
    Terminal terminal(words, {.columns = 1'000, .environment = {ssh.path}});
    const Finished got = terminal.finish();
    CAPTURE(got.out);
    CHECK(got.code == 4);
    for (const char* code : {"\x1b", "\x07", "\x08", "\x9b", "\xc2\x9b", "\xe2\x80\xae", "\xe2\x81\xa6"}) {
      // As a byte 0x9b is a part of other characters too.
      if (std::string_view(code) != "\x9b") CHECK_FALSE(contains(got.out, code));
    }
    CHECK_FALSE(contains(got.out,
                         "\x9b"
                         "1m"));
    CHECK(contains(
        got.out,
        "\\x1b]52;c;aGk=\\x07 \\x1b]0;title\\x1b\\ \\x1b[2J\\x1b[1;1H \\x9b1m \\u009b2J \\u202e \\u2066 "));
    std::map<std::string, int> begins;
    for (const std::string& line : terminal.screen()) {
      ++begins[line.substr(0, std::min(line.find("aGk"), line.find(": fake")))];
      if (contains(line, "warning:")) CHECK(line.starts_with("CODES: warning: \\x1b]52"));
      if (contains(line, "fake") && !contains(line, "\\nlocal: fake")) {
        // A line of its output: with its name in front, or beneath its name.
        const bool named = options.empty() ? line.starts_with("  ") : line.starts_with("CODES: ");
        CHECK(named);
      }
    }
    CHECK(begins["CODES: warning: \\x1b]52;c;"] == 1);
    CHECK(
        begins["✗ BANNER  shell: the connection ended before the shell was ready; last words: \\x1b]52;c;"] ==
        1);
    CHECK(begins["✗ CODES  command: \\x1b]52;c;"] == 1);
    CHECK_FALSE(begins.contains("local"));
    CHECK_FALSE(begins.contains("✗ local  command"));
  }
}

TEST_CASE("hosts that attack lose their own links, and the others and the root's memory do not notice") {
  constexpr long kPeakMaxKib = 64 * 1024;  // one message put together, twice while it grows, and ourselves
  const FakeSsh ssh;
  const std::string lines = cat("LINES", std::string(47, 'x'));
  {
    Program program(
        {"run", "--ssh", "openssh", cat("LONG,LIAR,local,", lines), "--", "sh", "-c", "sleep 1; echo here"},
        Program::Shape::kPipes, {ssh.path});
    // Nobody reads what LINES says until there is as much of it as can be.
    REQUIRE(program.wait_for_unread(32'000));
    REQUIRE(program.wait_for_error("✗ LONG"));
    REQUIRE(program.wait_for_error("✗ LIAR"));
    const long peak = peak_kib(program.pid());
    const Finished got = program.finish();
    CAPTURE(got.err, peak);
    if (kMemoryIsOurs) CHECK(peak < kPeakMaxKib);
    CHECK(got.code == 4);
    CHECK(contains(got.err, "✗ LONG  command: output in a message of 15728640 bytes\n"));
    CHECK(lines_of(got.err).size() == 2);
    std::map<std::string, std::size_t> said;
    for (const std::string& line : lines_of(got.out)) ++said[line];
    CHECK(said["local: here"] == 1);
    CHECK(said[lines + ": "] == kLinesBytes);
    CHECK(said.size() == 2);
  }
}
