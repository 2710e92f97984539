// Java's own HttpClient against a server, signing by hand; prints a line per step.
//
//   java Kms.java ENDPOINT REGION     with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
//
// The client asks for HTTP/2 in the first request on a connection (Upgrade: h2c) and sends the body with it. It does
// not let a program set Host, and nothing here signs Content-Type.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Kms {
    private static final String SIGNED = "host;x-amz-date;x-amz-target";
    private static String endpoint;
    private static String region;

    public static void main(String[] arguments) throws Exception {
        endpoint = arguments[0];
        region = arguments[1];
        for (HttpClient.Version version : HttpClient.Version.values()) {
            HttpClient client = HttpClient.newBuilder().version(version).connectTimeout(Duration.ofSeconds(20)).build();
            walk(client, version);
        }
    }

    private static void walk(HttpClient client, HttpClient.Version version) throws Exception {
        String key = member(answer(client, "CreateKey", "{\"Description\": \"from Java\"}"), "KeyId");
        say(version, "a key");
        String plaintext = Base64.getEncoder().encodeToString(new byte[4096]);
        String blob = member(
            answer(client, "Encrypt", "{\"KeyId\": \"" + key + "\", \"Plaintext\": \"" + plaintext + "\"}"),
            "CiphertextBlob");
        String opened = member(answer(client, "Decrypt", "{\"CiphertextBlob\": \"" + blob + "\"}"), "Plaintext");
        check(opened.equals(plaintext), "another plaintext");
        say(version, "encrypted and decrypted");
        String body = "{\"CiphertextBlob\": \"" + blob + "\", \"EncryptionContext\": {\"a\": \"b\"}}";
        HttpResponse<String> refused = call(client, "Decrypt", body);
        check(refused.statusCode() == 400, "status " + refused.statusCode());
        check(member(refused.body(), "__type").equals("InvalidCiphertextException"), refused.body());
        say(version, "refused");
    }

    private static String answer(HttpClient client, String operation, String body) throws Exception {
        HttpResponse<String> response = call(client, operation, body);
        check(response.statusCode() == 200, operation + ": " + response.statusCode() + " " + response.body());
        return response.body();
    }

    private static HttpResponse<String> call(HttpClient client, String operation, String body) throws Exception {
        ZonedDateTime now = ZonedDateTime.now(ZoneOffset.UTC);
        String moment = now.format(DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'"));
        String target = "TrentService." + operation;
        HttpRequest request = HttpRequest.newBuilder(URI.create(endpoint + "/"))
            .timeout(Duration.ofSeconds(30))
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Date", moment)
            .header("X-Amz-Target", target)
            .header("Authorization", authorization(moment, target, body))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        return client.send(request, HttpResponse.BodyHandlers.ofString());
    }

    private static String authorization(String moment, String target, String body) throws Exception {
        String host = URI.create(endpoint).getAuthority();
        String scope = moment.substring(0, 8) + "/" + region + "/kms/aws4_request";
        String canonical = "POST\n/\n\nhost:" + host + "\nx-amz-date:" + moment + "\nx-amz-target:" + target + "\n\n"
            + SIGNED + "\n" + digest(body);
        String text = "AWS4-HMAC-SHA256\n" + moment + "\n" + scope + "\n" + digest(canonical);
        byte[] key = ("AWS4" + System.getenv("AWS_SECRET_ACCESS_KEY")).getBytes(StandardCharsets.UTF_8);
        for (String part : (scope).split("/")) {
            key = hmac(key, part);
        }
        return "AWS4-HMAC-SHA256 Credential=" + System.getenv("AWS_ACCESS_KEY_ID") + "/" + scope + ", SignedHeaders="
            + SIGNED + ", Signature=" + HexFormat.of().formatHex(hmac(key, text));
    }

    private static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String digest(String text) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(hash);
    }

    private static String member(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(json);
        check(found.find(), "no " + name + " in " + json);
        return found.group(1);
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    private static void say(HttpClient.Version version, String step) {
        System.out.println(version + " " + step);
    }
}
