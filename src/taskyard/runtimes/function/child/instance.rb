# frozen_string_literal: true

# An instance for Ruby: speaks the protocol of the function runtime over descriptor 3.
require 'fileutils'
require 'json'
require 'socket'
require 'stringio'

# What a handler's answer has to be, and is not.
class TaskyardUnusable < StandardError
  def message
    "the handler answered with something unusable: #{super}"
  end
end

# The body of a request: an IO, as functions for OpenFaaS expect, that also passes for its text.
class TaskyardBody < StringIO
  def to_s
    string
  end
  alias to_str to_s
end

# Frames over the socket that the process was started with.
class TaskyardRuntime
  def initialize
    @socket = UNIXSocket.for_fd(3)
    @socket.close_on_exec = true
    @lock = Mutex.new
  end

  # Header and payload of the next frame; nil when the other end has hung up.
  def read
    lengths = @socket.read(8)
    return nil if lengths.nil? || lengths.bytesize < 8

    header, payload = lengths.unpack('NN')
    head = @socket.read(header)
    body = @socket.read(payload)
    return nil if head.nil? || body.nil? || head.bytesize < header || body.bytesize < payload

    [JSON.parse(head), body]
  end

  def say(header, *payload)
    head = JSON.generate(header).b
    frame = [head.bytesize, payload.sum(&:bytesize)].pack('NN') << head
    payload.each { |part| frame << part.b }
    @lock.synchronize { @socket.write(frame) }
  end
end

# How far one call is: 0 to 1, and a few words. What comes too fast is left out, and what comes
# after the answer belongs to no call.
class TaskyardProgress
  SECONDS = 0.25

  def initialize(runtime, call)
    @runtime = runtime
    @call = call
    @pid = Process.pid
    @reported = -SECONDS
    @over = false
  end

  def call(fraction, text = nil)
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    part = Float(fraction).clamp(0.0, 1.0)
    return if @over || Process.pid != @pid || (now < @reported + SECONDS && part < 1.0)

    @reported = now
    @runtime.say({ call: @call, progress: part, text: text.nil? ? nil : text.to_s[0, 500] })
  end

  def over
    @over = true
  end
end

# Threads whose call is over. What they print would be in the log of another call, and is dropped
# where that can be told; a process with threads of the function's own is not used again. Those of
# gems that were installed for it, and that of Timeout, serve later calls as well.
class TaskyardLeft
  GRACE_S = 0.02 # For threads that are about to end.

  def initialize(code, gems)
    @code = "#{code}/"
    @gems = "#{gems}/"
    @threads = []
    @known = Thread.list
    @ends = ends
    left = self
    guard = Module.new do
      define_method(:write) do |*parts|
        left.include?(Thread.current) ? parts.sum { |one| one.to_s.bytesize } : super(*parts)
      end
    end
    [STDOUT, STDERR].each { |stream| stream.singleton_class.prepend(guard) }
  end

  # Whether the call that is over left threads of the function's own.
  def remain?
    return false if Thread.list.length == 1

    @threads = Thread.list - @known
    give_up_at = nil
    while @threads.any? { |thread| own?(thread) }
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      give_up_at ||= now + GRACE_S
      return true if now > give_up_at

      sleep(0.0005)
    end
    false
  end

  # Whether a call closed the streams, or had them lead elsewhere: later calls would print nothing.
  def streams_lost?
    ends != @ends
  end

  def include?(thread)
    !@threads.empty? && @threads.include?(thread)
  end

  private

  # What the streams are open on; nil for one that cannot be printed to.
  def ends
    [STDOUT, STDERR].map do |stream|
      stat = stream.stat
      [stat.dev, stat.ino]
    rescue IOError, SystemCallError
      nil
    end
  end

  def own?(thread)
    return false unless thread.alive?

    trace = thread.backtrace_locations
    begun_in = trace&.last&.absolute_path.to_s
    return true unless begun_in.start_with?(@gems) || begun_in.end_with?('/timeout.rb')

    # A gem's thread may run what the function gave it.
    trace.any? { |one| one.absolute_path.to_s.start_with?(@code) }
  end
end

# Answers calls, one at a time, until the runtime hangs up.
class TaskyardInstance
  def initialize(runtime, result_bytes, left)
    @runtime = runtime
    @result_bytes = result_bytes
    @home = Dir.pwd
    @pid = Process.pid
    @left = left
  end

  def serve
    while (header, body = @runtime.read)
      answer(header, body)
      tidy
    end
  end

  private

  def answer(header, body)
    content = ''.b
    head = begin
      status, pairs, content = answered(header, body)
      { status: status, headers: pairs }
    rescue SystemExit => e
      { error: "the handler called exit(#{e.status})", exit: e.status }
    rescue TaskyardUnusable => e
      { error: e.message }
    rescue Exception => e # whatever other people's code raises is told, and never ends our part
      e.set_backtrace(e.backtrace&.take_while { |line| !line.start_with?(__FILE__) })
      $stderr.write(e.full_message(highlight: false))
      { error: text_of("#{e.class}: #{e.message}")[0, 2000] }
    end
    # A child that the handler forked, and that came back from it, must not answer.
    exit!(head[:exit] || (head[:error] ? 1 : 0)) if Process.pid != @pid
    kids = @left.remain? || @left.streams_lost? || children?
    flush
    @runtime.say({ **head, call: header['call'], sizes: [content.bytesize, 0, 0], kids: kids }, content)
    exit!(head[:exit]) if head[:exit]
  end

  def answered(header, body)
    progress = TaskyardProgress.new(@runtime, header['call'])
    input = TaskyardBody.new(body.force_encoding(Encoding::UTF_8))
    environment = environment_of(header, input, progress)
    value = Handler.new.run(input, environment)
    response_of(value)
  ensure
    progress.over
  end

  # The request as Rack has it, which is what functions for OpenFaaS get; a header can also be
  # looked up by its own name, in any letter case.
  def environment_of(header, input, progress)
    environment = Hash.new do |all, name|
      key = name.to_s.upcase.tr('-', '_')
      all.fetch("HTTP_#{key}") { all.fetch(key, nil) }
    end
    (header['headers'] || []).each do |name, value|
      key = name.upcase.tr('-', '_')
      key = "HTTP_#{key}" unless %w[CONTENT_TYPE CONTENT_LENGTH].include?(key)
      value = bytes_of(value)
      environment[key] = environment.key?(key) ? "#{environment[key]}, #{value}" : value
    end
    environment.merge!(
      'REQUEST_METHOD' => header['method'], 'PATH_INFO' => '/', 'SCRIPT_NAME' => '',
      'QUERY_STRING' => bytes_of(header['query'] || ''), 'HTTP_HOST' => header['host'].to_s,
      'CONTENT_LENGTH' => input.string.bytesize.to_s, 'rack.input' => input,
      'taskyard.progress' => progress, 'taskyard.timeout' => header['timeout_s']
    )
  end

  def response_of(value)
    body, headers, status = value
    if value.is_a?(Array) && (value.length > 3 || !(headers.nil? || headers.is_a?(Hash)))
      raise TaskyardUnusable, 'an array has to be [body, headers, status]'
    end

    body, headers, status = value, nil, nil unless value.is_a?(Array)
    status = 200 if status.nil?
    unless status.is_a?(Integer) && status.between?(200, 599)
      raise TaskyardUnusable, "the status has to be a number from 200 to 599, not #{status.inspect[0, 100]}"
    end

    content, kind = encoded(body)
    if content.bytesize > @result_bytes
      raise TaskyardUnusable, "the answer has #{content.bytesize} bytes; #{@result_bytes} are allowed"
    end

    pairs = pairs_of(headers || {})
    typed = pairs.any? { |name, _| name.casecmp?('content-type') }
    pairs.unshift(['content-type', kind]) if kind && !typed
    [status, pairs, content]
  end

  def pairs_of(headers)
    headers.flat_map do |name, value|
      (value.is_a?(Array) ? value : [value]).map { |one| [field(name), field(one)] }
    end
  end

  def field(value)
    text = value.to_s
    raise TaskyardUnusable, 'a header contains a line break' if text.b.match?(/[\r\n\0]/n)

    # One letter of Latin-1 for each byte, as headers travel.
    text.dup.force_encoding(Encoding::ISO_8859_1).encode(Encoding::UTF_8)
  end

  def encoded(body)
    case body
    when nil then [''.b, nil]
    when String, StringIO
      text = body.is_a?(String) ? body : body.string
      plain = text.encoding != Encoding::BINARY && text.valid_encoding?
      return [text.b, 'application/octet-stream'] unless plain

      [text.encode(Encoding::UTF_8), 'text/plain; charset=utf-8']
    else
      json!(body)
      [JSON.generate(body), 'application/json']
    end
  rescue EncodingError, JSON::JSONError => e
    raise TaskyardUnusable, "a #{body.class} cannot be answered with: #{text_of(e.message)}"
  end

  # JSON would have of other objects how they are shown, such as "#<Object:0x…>".
  def json!(value)
    case value
    when Hash then value.each_value { |one| json!(one) }
    when Array then value.each { |one| json!(one) }
    when String, Numeric, Symbol, true, false, nil then nil
    else
      return unless value.method(:to_json).owner.name&.start_with?('JSON::Ext::Generator::')

      raise TaskyardUnusable, "a #{value.class} cannot be answered with: JSON has nothing for it"
    end
  end

  def bytes_of(text)
    text.encode(Encoding::ISO_8859_1).force_encoding(Encoding::UTF_8)
  rescue EncodingError
    text
  end

  def text_of(message)
    message.to_s.dup.force_encoding(Encoding::UTF_8).scrub
  end

  # Write what was printed, before the answer: it is looked for when that arrives.
  def flush
    [$stdout, $stderr, STDOUT, STDERR].each do |stream|
      stream.flush
    rescue StandardError
      next # the handler closed it, or put something else in its place
    end
  end

  # Whether the handler left processes behind; whoever is dead is buried on the way.
  def children?
    loop { return true if Process.wait(-1, Process::WNOHANG).nil? }
  rescue Errno::ECHILD
    false
  end

  def tidy
    Dir.chdir(@home)
    Dir.children('.').each { |name| FileUtils.rm_rf(name) }
  end
end

code, handler, result_bytes = %w[CODE HANDLER RESULT_BYTES].map do |name|
  ENV.delete("TASKYARD_#{name}")
end
ENV.delete('TASKYARD_ENTRY')
$stdout.sync = $stderr.sync = true
taskyard = TaskyardRuntime.new
begin
  file = File.join(code, handler)
  $PROGRAM_NAME = handler
  $LOAD_PATH.unshift(File.dirname(file))
  require file
  unless Object.const_defined?(:Handler) && Handler.method_defined?(:run)
    raise NameError, "#{handler} has no class Handler with a method run"
  end
rescue Exception => e # whatever other people's code raises is told
  e.set_backtrace(e.backtrace&.take_while { |line| !line.start_with?(__FILE__) })
  words = "#{e.full_message(highlight: false)}\n#{e.class}: #{e.message.lines.first}"
  words = words.force_encoding(Encoding::UTF_8).scrub
  taskyard.say({ failed: words[-8000..] || words })
  exit!(1)
end
taskyard.say({ ready: true })
begin
  left = TaskyardLeft.new(code, File.join(File.dirname(code), 'gems'))
  TaskyardInstance.new(taskyard, Integer(result_bytes), left).serve
rescue SystemCallError, IOError
  # The runtime is gone.
end
exit!(0)
