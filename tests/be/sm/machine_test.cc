// Proves: unsound tables do not compile (their check is false), sound ones pass; an undeclared
// edge, a wait in a NOWAIT phase and the destruction of a live op end the process, and name what
// broke.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "be/sm/describe.hh"
#include "tests/be/sm/walker.hh"

using namespace pleach;
using namespace pleach::sm;

namespace {

template <std::size_t N>
consteval bool sound(std::array<phase_row, N> rows) {
  return table_is_sound(rows, N - 1);
}
constexpr auto W = waits::WAIT;

static_assert(sound(std::array{phase_row{"A", W, 0b10}, phase_row{"DONE", W, 0}}));
// B is unreachable.
static_assert(!sound(std::array{phase_row{"A", W, 0b100}, phase_row{"B", W, 0b100},
                                phase_row{"DONE", W, 0}}));
// B cannot reach DONE.
static_assert(!sound(std::array{phase_row{"A", W, 0b110}, phase_row{"B", W, 0b010},
                                phase_row{"DONE", W, 0}}));
// DONE goes on.
static_assert(!sound(std::array{phase_row{"A", W, 0b10}, phase_row{"DONE", W, 0b01}}));
// An edge to a phase that does not exist.
static_assert(!sound(std::array{phase_row{"A", W, 0b1010}, phase_row{"DONE", W, 0}}));

static_assert(walker::info.cleanup == walker::CLEANUP);

#define PLEACH_STRICT_PHASES(X)  \
  X(FIRST, WAIT, SECOND)         \
  X(SECOND, NOWAIT, THIRD, DONE) \
  X(THIRD, NOWAIT, DONE)         \
  X(DONE, NOWAIT)
struct strict final : machine<strict> {
  PLEACH_PHASES("strict", PLEACH_STRICT_PHASES)
  enum { RIGHT, BAD_EDGE, BAD_WAIT, BAD_YIELD } how = RIGHT;
  step tick(phase p) noexcept {
    switch (p) {
      case FIRST: return go(how == BAD_EDGE ? THIRD : SECOND);
      case SECOND: return how == BAD_WAIT ? wait(DONE) : how == BAD_YIELD ? yield(DONE) : go(DONE);
      default: return go(DONE);
    }
  }
};
static_assert(strict::info.cleanup == -1);

/// RETURNS: what `fn` wrote to stderr in a child that died of SIGABRT, else "alive".
std::string last_words(const std::function<void()>& fn) {
  int out[2];
  DOCTEST_REQUIRE(pipe(out) == 0);
  pid_t child = fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // not doctest's
    dup2(out[1], 2);
    fn();
    _exit(0);
  }
  close(out[1]);
  std::string words;
  char buffer[512];
  for (ssize_t n; (n = read(out[0], buffer, sizeof buffer)) > 0;)
    words.append(buffer, static_cast<std::size_t>(n));
  close(out[0]);
  int state = 0;
  waitpid(child, &state, 0);
  return WIFSIGNALED(state) && WTERMSIG(state) == SIGABRT ? words : "alive";
}

void run(decltype(strict::how) how) {
  manual_environment env;
  reactor r(env);
  strict o;
  o.how = how;
  r.start(o);
  (void)r.poll();
}

}  // namespace

DOCTEST_TEST_CASE("a machine that keeps to its table lives") {
  DOCTEST_CHECK(last_words([] { run(strict::RIGHT); }) == "alive");
}

DOCTEST_TEST_CASE("an undeclared edge aborts with the names of both phases") {
  std::string words = last_words([] { run(strict::BAD_EDGE); });
  DOCTEST_CHECK(words.find("strict: FIRST -> THIRD is not declared") != std::string::npos);
}

DOCTEST_TEST_CASE("a wait or yield in a NOWAIT phase aborts with its name") {
  for (auto how : {strict::BAD_WAIT, strict::BAD_YIELD}) {
    std::string words = last_words([how] { run(how); });
    DOCTEST_CHECK(words.find("strict: SECOND is declared NOWAIT") != std::string::npos);
  }
}

DOCTEST_TEST_CASE("destroying an op that is neither idle nor DONE aborts") {
  auto destroy = [](bool queued_only) {
    manual_environment env;
    reactor r(env);
    wait_queue q("test");
    walker w;
    w.waits_in(q);
    r.start(w);
    if (!queued_only) (void)r.poll();
    w.~walker();
    _exit(0);
  };
  DOCTEST_CHECK(last_words([&] { destroy(true); }) != "alive");
  DOCTEST_CHECK(last_words([&] { destroy(false); }) != "alive");
}

DOCTEST_TEST_CASE(
    "the description names phases, waits and edges; coverage counts edges that were taken") {
  const machine_info* one[] = {&strict::info};
  std::string text = describe_machines_markdown(one);
  DOCTEST_CHECK(text.find("## strict") != std::string::npos);
  DOCTEST_CHECK(text.find("| FIRST | yes | SECOND |") != std::string::npos);
  DOCTEST_CHECK(text.find("| SECOND |  | THIRD DONE |") != std::string::npos);
  DOCTEST_CHECK(text.find("  SECOND --> THIRD\n") != std::string::npos);
  DOCTEST_CHECK(text.find("  [*] --> FIRST\n") != std::string::npos);

  run(strict::RIGHT);
  edge_counts n = count_edges(strict::info);
  DOCTEST_CHECK(n.declared == 4);
  DOCTEST_CHECK(n.taken == 2);
  std::string lines = edge_coverage(one);
  DOCTEST_CHECK(lines.find("strict FIRST SECOND 1\n") != std::string::npos);
  DOCTEST_CHECK(lines.find("strict SECOND THIRD 0\n") != std::string::npos);
  DOCTEST_CHECK(edge_coverage_report(one) ==
                "strict: 2 of 4 edges\n  never SECOND -> THIRD\n  never THIRD -> DONE\n");
}

DOCTEST_TEST_CASE("machines of the program are registered once each") {
  int strict_seen = 0, walker_seen = 0;
  for (const machine_info* m : all_machines()) {
    strict_seen += m == &strict::info;
    walker_seen += m == &walker::info;
  }
  DOCTEST_CHECK(strict_seen == 1);
  DOCTEST_CHECK(walker_seen == 1);
}

DOCTEST_TEST_CASE(
    "a program that exits appends its coverage to the file named by the environment") {
  char path[] = "/tmp/pleach-coverage-XXXXXX";
  int fd = mkstemp(path);
  DOCTEST_REQUIRE(fd >= 0);
  for (int i = 0; i < 2; ++i) {
    pid_t child = fork();
    if (child == 0) {
      setenv("PLEACH_EDGE_COVERAGE", path, 1);
      dump_edge_coverage_at_exit();
      _exit(0);
    }
    waitpid(child, nullptr, 0);
  }
  std::string one = edge_coverage(all_machines());
  std::string text(3 * one.size(), '\0');
  ssize_t n = read(fd, text.data(), text.size());
  close(fd);
  unlink(path);
  DOCTEST_REQUIRE(n >= 0);
  text.resize(static_cast<std::size_t>(n));
  DOCTEST_CHECK(text == one + one);
}
