#include <bloom/text/chat_template.hpp>

/// Templates for weights that come without one. They follow the formats' published descriptions and
/// are compared with models' own templates where those say the same.
namespace bloom::text {
namespace {

constexpr std::string_view kChatMl = R"jinja(
{%- macro thought_of(message) -%}
    {{- message.reasoning_content if message.reasoning_content is defined else '' -}}
{%- endmacro -%}
{%- set first_is_system = messages and messages[0].role == 'system' -%}
{%- if tools -%}
    {{- '<|im_start|>system\n' -}}
    {%- if first_is_system -%}
        {{- messages[0].content + '\n\n' -}}
    {%- endif -%}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" -}}
    {%- for tool in tools -%}
        {{- '\n' + tool|tojson -}}
    {%- endfor -%}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" -}}
{%- elif first_is_system -%}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' -}}
{%- endif -%}
{%- set turn = namespace(last_user=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {%- set turn.last_user = loop.index0 -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- if loop.index0 > turn.last_user and thought_of(message) -%}
            {{- '<think>\n' + thought_of(message) + '\n</think>\n\n' -}}
        {%- endif -%}
        {{- message.content -}}
        {%- for call in message.tool_calls or [] -%}
            {%- if message.content or not loop.first -%}
                {{- '\n' -}}
            {%- endif -%}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments|tojson + '}\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if loop.first or loop.previtem.role != 'tool' -%}
            {{- '<|im_start|>user' -}}
        {%- endif -%}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' -}}
        {%- if loop.last or loop.nextitem.role != 'tool' -%}
            {{- '<|im_end|>\n' -}}
        {%- endif -%}
    {%- elif message.role == 'user' or not loop.first -%}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
    {%- if enable_thinking is defined and not enable_thinking -%}
        {{- '<think>\n\n</think>\n\n' -}}
    {%- endif -%}
{%- endif -%}
)jinja";

constexpr std::string_view kLlama3 = R"jinja(
{%- macro header(role) -%}
    {{- '<|start_header_id|>' + role + '<|end_header_id|>\n\n' -}}
{%- endmacro -%}
{{- bos_token -}}
{%- set rest = messages -%}
{%- if messages and messages[0].role == 'system' -%}
    {%- set system_text = messages[0].content|trim -%}
    {%- set rest = messages[1:] -%}
{%- endif -%}
{%- if system_text is defined -%}
    {{- header('system') + system_text + '<|eot_id|>' -}}
{%- endif -%}
{%- for message in rest -%}
    {%- if message.tool_calls -%}
        {%- if message.tool_calls|length != 1 -%}
            {{- raise_exception('This model supports one tool call at a time.') -}}
        {%- endif -%}
        {%- set call = message.tool_calls[0].function -%}
        {{- header('assistant') + '{"name": "' + call.name + '", "parameters": ' + call.arguments|tojson + '}<|eot_id|>' -}}
    {%- elif message.role == 'tool' -%}
        {{- header('ipython') + message.content|tojson + '<|eot_id|>' -}}
    {%- else -%}
        {{- header(message.role) -}}
        {%- if tools and message.role == 'user' and loop.first -%}
            {{- 'Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of argument name and its value}. Do not use variables.\n\n' -}}
            {%- for tool in tools -%}
                {{- tool|tojson(indent=4) + '\n\n' -}}
            {%- endfor -%}
        {%- endif -%}
        {{- message.content|trim + '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- header('assistant') -}}
{%- endif -%}
)jinja";

constexpr std::string_view kGemma4 = R"jinja(
{%- macro literal(value) -%}
    {%- if value is string -%}
        {{- '<|"|>' + value + '<|"|>' -}}
    {%- elif value is boolean -%}
        {{- 'true' if value else 'false' -}}
    {%- elif value is mapping -%}
        {{- '{' -}}
        {%- for key, member in value|dictsort -%}
            {{- key + ':' + literal(member) -}}
            {{- ',' if not loop.last -}}
        {%- endfor -%}
        {{- '}' -}}
    {%- elif value is sequence -%}
        {{- '[' -}}
        {%- for item in value -%}
            {{- literal(item) -}}
            {{- ',' if not loop.last -}}
        {%- endfor -%}
        {{- ']' -}}
    {%- else -%}
        {{- value -}}
    {%- endif -%}
{%- endmacro -%}
{%- macro schema(node) -%}
    {{- '{' -}}
    {%- set out = namespace(first=true) -%}
    {%- for key, value in node|dictsort if key != 'type' -%}
        {%- if not out.first -%}{{- ',' -}}{%- endif -%}
        {%- set out.first = false -%}
        {%- if key == 'properties' and value is mapping -%}
            {{- 'properties:{' -}}
            {%- for name, inner in value|dictsort -%}
                {{- name + ':' + (schema(inner) if inner is mapping else literal(inner)) -}}
                {{- ',' if not loop.last -}}
            {%- endfor -%}
            {{- '}' -}}
        {%- elif key == 'items' and value is mapping -%}
            {{- 'items:' + schema(value) -}}
        {%- else -%}
            {{- key + ':' + literal(value) -}}
        {%- endif -%}
    {%- endfor -%}
    {%- if node.type is string -%}
        {%- if not out.first -%}{{- ',' -}}{%- endif -%}
        {{- 'type:' + literal(node.type|upper) -}}
    {%- endif -%}
    {{- '}' -}}
{%- endmacro -%}
{%- macro response(name, text) -%}
    {{- '<|tool_response>response:' + name + '{value:' + literal(text) + '}<tool_response|>' -}}
{%- endmacro -%}
{{- bos_token -}}
{%- set thinking = enable_thinking is defined and enable_thinking -%}
{%- set rest = messages -%}
{%- set has_system = messages and messages[0].role == 'system' -%}
{%- if thinking or tools or has_system -%}
    {{- '<|turn>system\n' -}}
    {%- if thinking -%}
        {{- '<|think|>\n' -}}
    {%- endif -%}
    {%- if has_system -%}
        {{- messages[0].content|trim -}}
        {%- set rest = messages[1:] -%}
    {%- endif -%}
    {%- for tool in tools or [] -%}
        {{- '<|tool>declaration:' + tool.function.name + '{description:' + literal(tool.function.description or '') -}}
        {%- if tool.function.parameters -%}
            {{- ',parameters:' + schema(tool.function.parameters) -}}
        {%- endif -%}
        {{- '}<tool|>' -}}
    {%- endfor -%}
    {{- '<turn|>\n' -}}
{%- endif -%}
{%- set state = namespace(open=false, after_result=false, names={}) -%}
{%- for message in rest -%}
    {%- if message.role == 'tool' -%}
        {%- set found = namespace(name=message.name or 'unknown') -%}
        {%- for earlier in rest[:loop.index0] -%}
            {%- for call in earlier.tool_calls or [] if call.id == message.tool_call_id -%}
                {%- set found.name = call.function.name -%}
            {%- endfor -%}
        {%- endfor -%}
        {{- response(found.name, message.content) -}}
        {%- set state.after_result = true -%}
    {%- else -%}
        {%- if message.role != 'assistant' or not state.open -%}
            {%- if state.open -%}{{- '<turn|>\n' -}}{%- endif -%}
            {{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' -}}
        {%- endif -%}
        {%- set state.open = false -%}
        {%- set state.after_result = false -%}
        {%- if message.tool_calls and message.reasoning_content -%}
            {{- '<|channel>thought\n' + message.reasoning_content + '\n<channel|>' -}}
        {%- endif -%}
        {{- message.content|trim -}}
        {%- for call in message.tool_calls or [] -%}
            {{- '<|tool_call>call:' + call.function.name + literal(call.function.arguments) + '<tool_call|>' -}}
        {%- endfor -%}
        {%- if message.tool_calls -%}
            {%- set state.open = true -%}
        {%- else -%}
            {{- '<turn|>\n' -}}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not state.open -%}
    {{- '<|turn>model\n' -}}
    {%- if not thinking -%}
        {{- '<|channel>thought\n<channel|>' -}}
    {%- endif -%}
{%- endif -%}
)jinja";

constexpr std::string_view kMiniMax = R"jinja(
{%- set rest = messages -%}
{%- set system_text = 'You are a helpful assistant.' -%}
{%- if messages and messages[0].role == 'system' -%}
    {%- set system_text = messages[0].content or system_text -%}
    {%- set rest = messages[1:] -%}
{%- endif -%}
{{- ']~!b[]~b]system\n' + system_text -}}
{%- if tools -%}
    {{- '\n\n# Tools\nYou may call one or more tools to assist with the user query.\nHere are the tools available in JSONSchema format:\n\n<tools>\n' -}}
    {%- for tool in tools -%}
        {{- '<tool>' + tool.function|tojson + '</tool>\n' -}}
    {%- endfor -%}
    {{- '</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>' -}}
{%- endif -%}
{{- '[e~[\n' -}}
{%- set turn = namespace(last_user=-1, called=false) -%}
{%- for message in rest -%}
    {%- if message.role == 'user' -%}
        {%- set turn.last_user = loop.index0 -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in rest -%}
    {%- if message.role == 'assistant' -%}
        {{- ']~b]ai\n' -}}
        {%- if message.reasoning_content and loop.index0 > turn.last_user -%}
            {{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' -}}
        {%- endif -%}
        {{- message.content -}}
        {%- if message.tool_calls -%}
            {{- '\n<minimax:tool_call>\n' -}}
            {%- for call in message.tool_calls -%}
                {{- '<invoke name="' + call.function.name + '">\n' -}}
                {%- for key, value in call.function.arguments.items() -%}
                    {{- '<parameter name="' + key + '">' + (value if value is string else value|tojson) + '</parameter>\n' -}}
                {%- endfor -%}
                {{- '</invoke>\n' -}}
            {%- endfor -%}
            {{- '</minimax:tool_call>' -}}
        {%- endif -%}
        {%- set turn.called = message.tool_calls is defined -%}
        {{- '[e~[\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if not turn.called -%}
            {{- raise_exception('A tool message needs an earlier tool call.') -}}
        {%- endif -%}
        {%- if loop.first or loop.previtem.role != 'tool' -%}
            {{- ']~b]tool' -}}
        {%- endif -%}
        {{- '\n<response>' + message.content + '</response>' -}}
        {%- if loop.last or loop.nextitem.role != 'tool' -%}
            {{- '[e~[\n' -}}
        {%- endif -%}
    {%- else -%}
        {{- ']~b]' + message.role + '\n' + message.content + '[e~[\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- ']~b]ai\n<think>\n' -}}
{%- endif -%}
)jinja";

} // namespace

std::string_view builtin_chat_template(const std::function<bool(std::string_view)>& has_token) {
    if (has_token("<|start_header_id|>")) return kLlama3;
    if (has_token("<|im_start|>")) return kChatMl;
    if (has_token("<|turn>")) return kGemma4;
    if (has_token("]~b]")) return kMiniMax;
    return {};
}

} // namespace bloom::text
