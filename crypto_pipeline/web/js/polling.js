// Reading something again and again while the page is seen, and at once when it is seen again.

/**
 * @param {number} seconds between two reads
 * @param {() => Promise<void>} read shows what it reads; it tells of its own failures
 * @returns {() => void} reads now
 */
export function poll(seconds, read) {
  let timer = 0;
  let under = false;
  const now = async () => {
    clearTimeout(timer);
    if (under) return;
    under = true;
    try {
      if (!document.hidden) await read();
    } finally {
      under = false;
      timer = setTimeout(now, seconds * 1000);
    }
  };
  const seen = () => {
    if (!document.hidden) void now();
  };
  document.addEventListener("visibilitychange", seen);
  document.addEventListener("resume", seen);
  window.addEventListener("online", seen);
  void now();
  return now;
}
