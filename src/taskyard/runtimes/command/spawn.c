/* Starts a program as another user, at the price of posix_spawn.
 *
 * posix_spawn cannot change the user, and a process that forks in full to do so pays for copying its
 * page tables. Here the child of a vfork changes the user: the caller itself never does, not even for
 * a moment, because whoever has its real or saved user id could kill it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEP_PREPARE = 1, STEP_USER = 2, STEP_DIRECTORY = 3, STEP_EXECUTE = 4 };

/* What this process handles, and what its interpreter ignores and programs must not: looked at once, as
 * it is settled before anything is started, and costs a system call for each signal there is. */
static const sigset_t *changed_signals(void)
{
    static sigset_t changed;
    static int known;
    struct sigaction action;
    if (!known) {
        sigemptyset(&changed);
        for (int number = 1; number < NSIG; number++)
            if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL
                && (action.sa_handler != SIG_IGN || number == SIGPIPE || number == SIGXFSZ))
                sigaddset(&changed, number);
        known = 1;
    }
    return &changed;
}

/* The pid, or the negative of an errno; *step then says what failed. With enter_first the directory is
 * entered with the caller's rights: it is the user's own, but one above may keep the user out. */
int taskyard_spawn(const char *program, char *const argv[], char *const envp[], const char *cwd,
                   const int streams[3], unsigned uid, unsigned gid, int enter_first, int *step)
{
    const sigset_t *changed = changed_signals();
    volatile int failed = 0, at = STEP_PREPARE;
    sigset_t all, before, none;
    sigfillset(&all);
    sigemptyset(&none);
    /* A handler of ours must not run in the child, which shares our memory. */
    if (sigprocmask(SIG_SETMASK, &all, &before) != 0)
        return -errno;
    pid_t pid = vfork();
    if (pid == 0) {
        struct sigaction standard = {.sa_handler = SIG_DFL};
        for (int number = 1; number < NSIG; number++)
            if (sigismember(changed, number) == 1)
                sigaction(number, &standard, NULL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        do {
            if (setsid() < 0)
                break;
            int number = 0;
            while (number < 3 && dup2(streams[number], number) >= 0)
                number++;
            if (number < 3)
                break;
            at = STEP_DIRECTORY;
            if (enter_first && chdir(cwd) < 0)
                break;
            at = STEP_USER;
            /* The system calls themselves: the library's would tell all threads of the caller. */
            if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0
                || syscall(SYS_setresuid, uid, uid, uid) < 0)
                break;
            at = STEP_DIRECTORY;
            if (!enter_first && chdir(cwd) < 0)
                break;
            at = STEP_EXECUTE;
            execve(program, argv, envp);
        } while (0);
        failed = errno;
        _exit(127);
    }
    int reason = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return -reason;
    if (failed != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        *step = at;
        return -failed;
    }
    return pid;
}
