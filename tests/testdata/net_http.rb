# What an application does with Net::HTTP: forty calls on one connection; then, when a line comes in and
# the port has closed meanwhile, one more.
require "net/http"
require "json"
require "openssl"
address, port, name, folder = ARGV
http = Net::HTTP.new(name, port.to_i)
http.ipaddr = address
http.use_ssl = true
http.verify_mode = OpenSSL::SSL::VERIFY_PEER
http.verify_hostname = true
http.ca_file = "#{folder}/authority.crt"
http.cert = OpenSSL::X509::Certificate.new(File.read("#{folder}/web.crt"))
http.key = OpenSSL::PKey.read(File.read("#{folder}/web.key"))
http.start
def post(http, path, body)
  answer = http.post(path, JSON.generate(body), "Content-Type" => "application/json")
  JSON.parse(answer.body)
end
context = { "column" => "users.email", "row" => "1" }
value = ["value"].pack("m0")
20.times do
  token = post(http, "/v1/encrypt", { keyring: "pii", context: context, plaintext: value })["token"]
  raise "another value" unless post(http, "/v1/decrypt", { token: token, context: context })["plaintext"] == value
end
puts "served"
STDOUT.flush
STDIN.gets
begin
  http.post("/v1/decrypt", "{}", "Content-Type" => "application/json")
  puts "answered"
rescue Errno::ECONNREFUSED
  puts "noticed the close and tried anew"
rescue => error
  puts "#{error.class}: #{error.message}"
end
